"""The plan against a real vLLM on the CPU: what it predicts, vLLM logs; what it refuses, fails.

An engine is started with the plan's own arguments and environment, and stopped as soon as it
has said what is asked. One process loads vLLM for all of them.
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tests.e2e import tiny_models as tiny

import ports
from deployctl.hardware import load_profile
from deployctl.hub import fetch
from deployctl.model import facts_from
from deployctl.planning.make import make_plan
from deployctl.spec import ServiceSpec

pytestmark = pytest.mark.vllm

START_SECONDS = 600  # 15 s on two idle cores; the machine may be busy

AROUND = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CONFIGURE_LOGGING": "1",
}


def planned(folder, **wish):
    spec = ServiceSpec(model=str(folder), gpu="cpu", enforce_eager=True, **wish)
    profile = load_profile("cpu").model_copy(update={"memory_gib": 16.0})
    return make_plan(spec, facts_from(fetch(str(folder))), profile)


# Loads vLLM, which takes longer than all that is asked of it here. Then, for each line that it
# reads, it runs the server in a copy of itself, whose words go into a file.
LOADED = """
import json, os, runpy, sys
import vllm.entrypoints.openai.api_server
from vllm.model_executor.models import registry
# Without a process of its own, 15 s, to look at each model's class.
registry._LazyRegisteredModel.inspect_model_cls = (
    lambda self: registry._ModelInfo.from_model_cls(self.load_model_cls()))
for line in sys.stdin:
    arguments, environment, log = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.environ.update(environment)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        said = os.open(log, os.O_WRONLY)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.argv = ["api_server", *arguments]
        runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")
        os._exit(0)
    print(pid, flush=True)
    os.waitpid(pid, 0)
    print("ended", flush=True)
"""


class Loaded:
    """A process that has vLLM loaded, and starts engines as they are planned, one at a time."""

    def __init__(self, folder):
        self._logs = (folder / f"{number}.log" for number in itertools.count())
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", LOADED],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            cwd=folder, env={**os.environ, **AROUND},
        )  # fmt: skip

    def said(self, folder, plan, until=None):
        """Starts vLLM as planned; returns its log, up to what matches or its end."""
        log = next(self._logs)
        log.touch()
        arguments = ["--model", str(folder), "--host", "127.0.0.1", "--port", str(ports.free())]
        case = [[*arguments, *plan.engine.args], plan.engine.env, str(log)]
        self._process.stdin.write(json.dumps(case) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        deadline = time.monotonic() + START_SECONDS
        try:
            while _runs(pid) and not (until and re.search(until, log.read_text())):
                assert time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(0.1)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # its children too, all of one session
            assert self._process.stdout.readline() == "ended\n"
        return log.read_text()

    def close(self):
        self._process.stdin.close()
        self._process.wait(timeout=START_SECONDS)
        self._process.stdout.close()


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def vllm(tmp_path_factory):
    loaded = Loaded(tmp_path_factory.mktemp("vllm"))
    yield loaded
    loaded.close()


@pytest.fixture
def changed(tiny_checkpoint, tmp_path):
    """A copy of the tiny checkpoint with a changed config."""

    def make(**changes):
        folder = tmp_path / "changed"
        shutil.copytree(tiny_checkpoint, folder)
        config = json.loads((folder / "config.json").read_text())
        for name, value in changes.items():
            if isinstance(value, dict):
                config[name].update(value)
            else:
                config[name] = value
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return make


def test_the_cache_has_the_tokens_that_the_plan_predicts(vllm, tiny_checkpoint):
    # 1000 is no multiple of the block of 128 tokens: rounding counts too.
    plan = planned(tiny_checkpoint, max_model_len=1000)
    assert plan.verdict == "fits"
    log = vllm.said(tiny_checkpoint, plan, r"KV cache size: ")
    found = re.search(r"KV cache size: ([\d,]+) tokens, .*request: ([\d.]+)x", log)
    assert found, log[-3000:]
    assert int(found.group(1).replace(",", "")) == plan.memory.kv_cache_tokens
    assert float(found.group(2)) == plan.max_concurrency


# With AMX a CPU has another kernel for latent attention, of other blocks: the plan is for all.
OTHER = {
    "windows alone": (tiny.SLIDING, {}),
    "latent attention": (tiny.LATENT, {"attention_backend": "CPU_MLA"}),
    "delta nets": (tiny.DELTA_NETS, {}),
}
AT_NIGHT = {  # the first two are served in test_tiny_models_served.py
    "windows and full": (tiny.WINDOWS, {}),
    "mamba2 and experts": (tiny.GRANITE, {}),
    "windows, sinks and experts": (tiny.SINKS, {}),
    "heads of two widths": (tiny.HEADS, {}),
    "experts": (tiny.EXPERTS, {}),
    "mamba2, mixers alone": (tiny.NEMOTRON, {}),
    "mamba2 beside attention": (tiny.BOTH, {}),
    "short convolutions": (tiny.CONVOLUTIONS, {}),
}


@pytest.mark.parametrize(
    "kind", [*OTHER, *(pytest.param(kind, marks=pytest.mark.night) for kind in AT_NIGHT)]
)
def test_other_layers_are_cached_as_vllm_caches_them(vllm, tiny_checkpoint, tmp_path, kind):
    shape, flags = {**OTHER, **AT_NIGHT}[kind]
    folder = tmp_path / "other"
    shutil.copytree(tiny_checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(tiny.config_of(config, shape)))
    plan = planned(folder, max_model_len=3000, engine_args={"load_format": "dummy", **flags})
    assert plan.verdict == "fits"
    log = vllm.said(folder, plan, r"KV cache size: ")
    found = re.search(r"KV cache size: ([\d,]+) tokens, .*request: ([\d.]+)x", log)
    assert found, log[-3000:]
    assert int(found.group(1).replace(",", "")) == plan.memory.kv_cache_tokens
    assert float(found.group(2)) == plan.max_concurrency


def test_a_cache_too_small_fails_and_both_name_the_same_longest_context(vllm, tiny_checkpoint):
    plan = planned(tiny_checkpoint, kv_cache_gib=0.0005)
    assert [reason.code for reason in plan.reasons] == ["kv_cache_too_small"]
    log = vllm.said(tiny_checkpoint, plan, r"estimated maximum model length")
    found = re.search(r"estimated maximum model length is (\d+)", log)
    assert found, log[-3000:]
    assert int(found.group(1)) == plan.longest_context


# What the plan refuses of a whole checkpoint: its code, the wish, and what vLLM says to that.
REFUSED = [
    ("heads_not_divisible", {"tensor_parallel_size": 3}, "attention heads .* divisible"),
    ("context_beyond_model", {"max_model_len": 4096}, "greater than the derived max_model_len"),
    ("unknown_flag", {"engine_args": {"enable_prefix_cachin_": True}}, "unrecognized arguments"),
    ("removed_flag", {"engine_args": {"swap_space": 4}}, "unrecognized arguments"),
    ("wrong_flag_value", {"engine_args": {"seed": "seven"}}, "argument --seed"),
    (
        "batch_settings_conflict",
        {"max_num_seqs": 64, "max_num_batched_tokens": 32},
        "max_num_batched_tokens",
    ),
]


@pytest.mark.parametrize(("code", "wish", "error"), REFUSED, ids=[code for code, *_ in REFUSED])
def test_what_the_plan_refuses_fails_in_vllm(vllm, tiny_checkpoint, code, wish, error):
    plan = planned(tiny_checkpoint, **wish)
    assert plan.verdict == "cannot_run"
    assert code in [reason.code for reason in plan.reasons]
    log = vllm.said(tiny_checkpoint, plan)
    assert re.search(error, log), log[-3000:]
    assert "KV cache size" not in log
    assert "Application startup" not in log


def test_a_group_that_does_not_divide_the_layer_fails_in_vllm(vllm, changed):
    folder = changed(quantization_config={"group_size": 96})
    plan = planned(folder)
    assert "group_size_not_divisible" in [reason.code for reason in plan.reasons]
    log = vllm.said(folder, plan, r"(group.size|not aligned|kernel).*|KV cache size")
    assert "KV cache size" not in log
    assert re.search(r"Error", log), log[-3000:]
