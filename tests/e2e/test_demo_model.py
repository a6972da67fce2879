"""deployctl demo-model on the real package: what it writes, and what survives being killed."""

import json
import os
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import pytest

from quantized import dequantize, unpack

pytestmark = pytest.mark.vllm

VLLM_PACKS = """
import sys, numpy, torch
from vllm.model_executor.layers.quantization.utils.quant_utils import awq_pack, gptq_pack
codes = torch.from_numpy(numpy.load(sys.argv[1]).astype(numpy.int32))
size_k, size_n = codes.shape
numpy.savez(sys.argv[2], awq=awq_pack(codes, 4, size_k, size_n).numpy(),
            gptq=gptq_pack(codes, 4, size_k, size_n).numpy())
"""


def demo_model(*arguments):
    command = [sys.executable, "-m", "deployctl", "demo-model", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_every_weight_is_within_four_bits_of_the_source(awq_checkpoint, gptq_checkpoint):
    from safetensors.numpy import load_file

    from deployctl.demo import source

    folders = {"awq": awq_checkpoint, "gptq": gptq_checkpoint}
    stored = {fmt: load_file(path / "model.safetensors") for fmt, path in folders.items()}
    checked = dict.fromkeys(stored, 0)
    for name, weight in source.real(source.find_gguf()).weights:  # seconds, so once for both
        layer, size = name.removesuffix(".weight"), np.linalg.norm(weight)
        for fmt, file in stored.items():
            if name in file:
                np.testing.assert_allclose(file[name], weight, rtol=1e-3, atol=1e-4)
                continue
            suffixes = ("qweight", "qzeros", "scales")
            tensors = {suffix: file[f"{layer}.{suffix}"] for suffix in suffixes}
            back = dequantize(unpack(tensors, fmt)).T
            # Symmetric codes lose a tenth; a wrong order of codes would lose everything.
            assert np.linalg.norm(back - weight) < 0.13 * size, (fmt, name)
            checked[fmt] += 1
    assert checked == dict.fromkeys(stored, 30 * 7)


def test_the_words_are_those_that_vllm_itself_packs(tmp_path):
    from deployctl.demo.quantize import Quantized, pack_awq, pack_gptq

    codes = np.random.default_rng(0).integers(0, 16, (64, 32)).astype(np.uint8)
    np.save(tmp_path / "codes.npy", codes)
    script = [sys.executable, "-c", VLLM_PACKS, tmp_path / "codes.npy", tmp_path / "packed.npz"]
    subprocess.run(script, check=True, capture_output=True, timeout=600)
    theirs = np.load(tmp_path / "packed.npz")
    ours = Quantized(codes, np.full((2, 32), 8, np.uint8), np.ones((2, 32), np.float16))
    assert np.array_equal(pack_awq(ours)["qweight"], theirs["awq"])
    assert np.array_equal(pack_gptq(ours)["qweight"], theirs["gptq"])


def test_a_container_s_own_user_can_read_it(awq_checkpoint):
    for file in awq_checkpoint.iterdir():
        assert file.stat().st_mode & stat.S_IROTH, file.name


def test_the_second_build_does_nothing(tiny_checkpoint):
    before = {p.name: p.stat().st_mtime_ns for p in tiny_checkpoint.iterdir()}
    done = demo_model("--size", "tiny", "--out", tiny_checkpoint, "--output", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["version"] == 1
    assert document["reused"] is True
    assert {p.name: p.stat().st_mtime_ns for p in tiny_checkpoint.iterdir()} == before


def test_a_stranger_s_folder_is_refused_in_two_lines(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    done = demo_model("--size", "tiny", "--out", tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert str(tmp_path) in done.stderr
    assert "hint:" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_killed_half_way_and_run_again(tmp_path):
    out = tmp_path / "m"
    command = [sys.executable, "-m", "deployctl", "demo-model", "--size", "tiny", "--out", out]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 300
        while not list(tmp_path.glob(".m.building-*")):
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(first.pid, signal.SIGKILL)
    assert not out.exists()
    assert demo_model("--size", "tiny", "--out", out).returncode == 0
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
