"""Files of the user: whole, bounded, and never waited for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployctl.boundedyaml import value_of
from deployctl.cli.app import build
from deployctl.endpoint import Endpoint
from deployctl.errors import InputError, NotFoundError, SpecError, StateError
from deployctl.given import parse_json, read_bytes, read_text, read_word
from deployctl.hardware import profiles
from deployctl.hardware.profiles import read_profile
from deployctl.load import folder as results
from deployctl.operations.measure.endpoint import with_wire
from deployctl.operations.rendered import known
from deployctl.spec.load import read_documents
from deployctl.spec.settings import Settings
from deployctl.targets import keyfile
from deployctl.tuning import recommendation, space, study
from deployctl_loadtest import promptfile, replay, workload


def test_a_file_is_read_whole_and_no_further(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"\xef\xbb\xbf1234")
    assert read_bytes(file, 7) == b"\xef\xbb\xbf1234"
    assert read_text(file, 7) == "1234"
    with pytest.raises(InputError, match="larger than 6 B"):
        read_bytes(file, 6)
    with pytest.raises(NotFoundError, match="no such file"):
        read_bytes(tmp_path / "none", 6)
    with pytest.raises(InputError, match="Is a directory"):
        read_bytes(tmp_path, 6)
    with pytest.raises(InputError, match="no NUL"):
        read_bytes(tmp_path / "a\0b", 6)


def test_a_name_may_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "a.yaml").write_text("a: 1")
    (tmp_path / "~a.yaml").write_text("a: [1")
    assert read_text(Path("~/a.yaml"), 99) == "a: 1"
    assert read_text(Path("~a.yaml"), 99) == "a: [1"
    done = CliRunner().invoke(build(every=True), ["check", "."])
    assert "~a.yaml" in done.output, done.exception


NOBODY = "~nobody-has-this-name/folder"


@pytest.mark.parametrize("variable", ["DEPLOYCTL_STATE_DIR", "DEPLOYCTL_CACHE_DIR"])
def test_a_folder_of_ours_that_nobody_knows_is_told_by_its_variable(monkeypatch, variable):
    monkeypatch.setenv(variable, NOBODY)
    with pytest.raises(InputError) as refused:
        Settings()
    assert refused.value.where == f"{variable}: {NOBODY}"
    assert variable in refused.value.hint


def test_a_user_without_a_home_is_told_so(monkeypatch):
    monkeypatch.setattr(Path, "expanduser", raising)
    for variable in ("DEPLOYCTL_STATE_DIR", "DEPLOYCTL_CACHE_DIR"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(InputError, match="home folder"):
        Settings()
    with pytest.raises(InputError, match="home folder"):
        profiles.own_folder()


def raising(*_):
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        (("status",), {"DEPLOYCTL_STATE_DIR": NOBODY}),
        (("profiles", "list"), {"DEPLOYCTL_STATE_DIR": NOBODY}),
        (("doctor",), {"HF_HOME": NOBODY}),
        (("inspect", NOBODY), {}),
        (("plan", "--model", NOBODY, "--gpu", "l4"), {}),
        (("inspect", "org/m"), {"HF_HOME": NOBODY}),
        (("demo-model", "--out", NOBODY), {}),
        (("fetch", "--model", "org/m", "--to", NOBODY), {}),
        (("keys", "list", "--file", NOBODY), {}),
        (("status", "--target", "kubernetes"), {"KUBECONFIG": NOBODY}),
        (("check", NOBODY), {}),
    ],
    ids=lambda each: " ".join(each)[:30],
)
def test_a_home_that_nobody_knows_is_refused_with_a_hint(monkeypatch, words, variables):
    for name, text in {"HF_HUB_OFFLINE": "1", **variables}.items():
        monkeypatch.setenv(name, text)
    done = CliRunner().invoke(build(every=True), list(words))
    assert isinstance(done.exception, InputError), done.exception
    assert done.exception.hint


def test_a_pipe_of_the_shell_and_the_null_device_are_files():
    assert read_bytes(Path(os.devnull), 6) == b""
    reader, writer = os.pipe()
    os.write(writer, b"a: 1")
    os.close(writer)
    assert read_bytes(Path(f"/dev/fd/{reader}"), 6) == b"a: 1"
    os.close(reader)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "thousands of digits"),
        ("{", "Expecting"),
    ],
)
def test_json_that_would_end_python_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        parse_json(text)


READERS = {
    "spec": read_documents,
    "profile": read_profile,
    "recommendation": recommendation.load,
    "space": lambda file: space.read(file, "0.32.0"),
    "key": lambda file: read_word(file, what="key", where="here", hint="so"),
    "keys": keyfile.read,
    "header": lambda file: with_wire(Endpoint("http://x", "m", None), [f"X-Y: @{file}"], None),
    "workload": lambda file: workload.load(str(file)),
    "prompts": lambda file: promptfile.read(file, "lines"),
    "trace": lambda file: replay.load(str(file)),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("kind", ["pipe", "zero", "folder"])
def test_no_reader_waits_or_reads_without_end(tmp_path, reader, kind):
    file = tmp_path / "file.yaml"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "zero":
        file.symlink_to("/dev/zero")
    else:
        file.mkdir()
    with pytest.raises((InputError, ValueError, StateError)):
        reader(file)


def test_results_and_studies_and_markers_are_read_with_bounds(tmp_path):
    os.mkfifo(tmp_path / "summary.json")
    with pytest.raises(InputError, match="not a plain file"):
        results.read(tmp_path)
    os.mkfifo(tmp_path / "study.jsonl")
    with pytest.raises(StateError, match="not a plain file"):
        study.opened(tmp_path)
    os.mkfifo(tmp_path / ".deployctl.json")
    assert known(tmp_path) is None


def bomb(levels=12):
    lines = ["a0: &a0 {x0: 1, x1: 1, x2: 1, x3: 1, x4: 1, x5: 1, x6: 1, x7: 1, x8: 1, x9: 1}"]
    for n in range(1, levels):
        lines.append(f"a{n}: &a{n} {{" + ", ".join(f"b{m}: *a{n - 1}" for m in range(10)) + "}")
    return "\n".join(lines) + "\n"


def merged(levels=40):
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("text", [bomb(), merged()], ids=["nested", "merged"])
def test_a_few_lines_do_not_stand_for_gigabytes(tmp_path, text):
    file = tmp_path / "values.yaml"
    file.write_text(text)
    with pytest.raises(SpecError, match="more than 50000 values"):
        read_documents(file)
    with pytest.raises(ValueError, match="aliases"):
        workload.load(str(file))


def test_a_tag_that_is_not_yamls_own_is_refused(tmp_path):
    file = tmp_path / "service.yaml"
    file.write_text("model: !env MODEL\n")
    with pytest.raises(SpecError, match="the tag !env is not known") as refused:
        read_documents(file)
    assert refused.value.where == f"{file}:1"


@pytest.mark.parametrize("text", ["!foo bar", "[1, !x 2]", "!<tag:x,2000:y> 1"])
def test_a_flag_s_value_loses_no_tag(text):
    assert value_of(text) == text
    assert value_of("!!str 5") == "5"


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "-f"),
        ("render", "--model", "x", "--gpu", "l4", "--target", "helm", "--values"),
        ("check",),
        ("plan", "--model", "x", "--gpu"),
        ("plan", "--model", "x", "--gpu", "l4", "--tuned"),
        ("inspect", "x", "--hf-token-file"),
        ("profiles", "add", "--from"),
        ("keys", "list", "--file"),
        ("smoke", "--url", "https://127.0.0.1:1", "--ca-file"),
    ],
    ids=lambda words: words[0] + words[-1],
)
def test_no_verb_waits_for_a_pipe(tmp_path, words):
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    done = CliRunner().invoke(build(every=True), [*words, str(pipe)])
    assert isinstance(done.exception, InputError), done.exception


def test_a_file_by_the_shells_own_pipe(tmp_path):
    words = f'"{sys.executable}" -m deployctl check <(printf "a: [1")'
    done = subprocess.run(
        ["bash", "-c", words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "not YAML" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "--model", "TINY", "--gpu", "l4", "--tuned"),
        ("diff", "--model", "TINY", "--gpu", "l4", "--against"),
        ("keys", "list", "--file"),
        ("compare", "x"),
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("kind", ["long", "circle"])
def test_a_path_that_leads_nowhere_is_refused(tmp_path, words, kind):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    path = "x" * 5000 if kind == "long" else str(tmp_path / "circle")
    given = [str(checkpoint(tmp_path)) if word == "TINY" else word for word in words]
    done = CliRunner().invoke(build(every=True), [*given, path])
    assert isinstance(done.exception, InputError), done.exception


def checkpoint(folder):
    """As much of one as a plan reads."""
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2}
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 100}
    config |= {**sizes, "num_key_value_heads": 2, "num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
