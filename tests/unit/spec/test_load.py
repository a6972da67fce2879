"""Flags over environment over file over defaults, and errors that say where."""

import json
from pathlib import Path
from typing import Any

import pytest

from deployctl.errors import SpecError
from deployctl.spec import load_specs, service_name


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("DEPLOYCTL_"):
            monkeypatch.delenv(name)


def write(path: Path, text: str) -> Path:
    file = path / "service.yaml"
    file.write_text(text)
    return file


def test_flag_beats_environment_beats_file_beats_default(tmp_path, monkeypatch):
    file = write(tmp_path, "model: from-file\nmax_model_len: 1\nport: 1111\nmax_num_seqs: 9\n")
    monkeypatch.setenv("DEPLOYCTL_MAX_MODEL_LEN", "2")
    monkeypatch.setenv("DEPLOYCTL_PORT", "2222")
    [spec] = load_specs([file], {"port": 3333})
    assert (spec.model, spec.max_num_seqs, spec.max_model_len, spec.port, spec.gpu) == (
        "from-file", 9, 2, 3333, "auto",
    )  # fmt: skip


@pytest.mark.parametrize("named", [{"namespace": "llm"}, {"context": "lab"}])
def test_a_spec_that_names_a_cluster_is_for_kubernetes(named):
    assert load_specs([], {"model": "a/b", **named})[0].target == "kubernetes"
    [spec] = load_specs([], {"model": "a/b", "target": "docker", **named})
    assert spec.target == "docker"


def test_the_three_ways_say_the_same(tmp_path, monkeypatch):
    values: dict[str, Any] = {
        "model": "org/name-AWQ",
        "gpu": "l4",
        "gpus": 2,
        "gpu_memory_utilization": 0.85,
        "enforce_eager": True,
        "engine_args": {"block_size": 16},
        "env": {"VLLM_LOGGING_LEVEL": "DEBUG"},
    }
    import json

    import yaml

    by_flag = load_specs([], values)
    by_file = load_specs([write(tmp_path, yaml.safe_dump(values))], {})
    for key, value in values.items():
        text = json.dumps(value) if isinstance(value, dict | bool) else str(value)
        monkeypatch.setenv(f"DEPLOYCTL_{key.upper()}", text)
    assert by_flag == by_file == load_specs([], {})


def test_what_the_engine_takes_as_json_may_be_a_mapping(tmp_path):
    file = write(tmp_path, "model: a/b\nengine_args: {compilation-config: {mode: 3, sizes: [1]}}\n")
    [spec] = load_specs([file], {})
    assert spec.engine_args == {"compilation_config": '{"mode": 3, "sizes": [1]}'}
    assert load_specs([], {"model": "a/b", "engine_args": spec.engine_args}) == [spec]


@pytest.mark.parametrize(
    "given",
    [
        {"override-generation-config.top_k": 5, "override_generation_config.a.b": 0.5},
        {"override-generation-config.top_k": 5, "override-generation-config": '{"a": {"b": 0.5}}'},
        {"override-generation-config": {"a": {"b": 0.5}}, "override-generation-config.top_k": 5},
    ],
)
def test_a_key_of_json_may_be_given_by_itself(given):
    [spec] = load_specs([], {"model": "a/b", "engine_args": given})
    assert spec.engine_args.keys() == {"override_generation_config"}
    text = spec.engine_args["override_generation_config"]
    assert json.loads(text) == {"top_k": 5, "a": {"b": 0.5}}


@pytest.mark.parametrize("given", [{"x.": 1}, {"x.y": 1, "x": 2}, {"x.y.z": 1, "x.y": 2}])
def test_a_key_of_what_is_no_json_is_refused(given):
    with pytest.raises(SpecError, match="is a key of JSON"):
        load_specs([], {"model": "a/b", "engine_args": dict(reversed(given.items()))})


def test_several_documents_are_several_services(tmp_path):
    file = write(tmp_path, "model: a/one\nport: 8001\n---\nmodel: a/two\nport: 8002\n")
    assert [s.service for s in load_specs([file], {})] == ["one", "two"]


@pytest.mark.parametrize(
    "both",
    [
        "target: docker\ngateway: true",
        "gpu: l4\ndomain: llm.example.com",
        "target: docker\ngpu: cpu\nreplicas: 2",
        "target: kubernetes",
        "cards: claim",
    ],
)
def test_services_with_an_address_each_may_name_the_same_port(tmp_path, both):
    """In Docker behind the gateway none takes a port of the host."""
    specs = load_specs([write(tmp_path, f"model: a\n{both}\n---\nmodel: b\n{both}\n")], {})
    assert [spec.port for spec in specs] == [8000, 8000]


@pytest.mark.parametrize(
    ("text", "where", "message", "hint"),
    [
        ("gpu: l4\n", "services/0/model", "a value is required", "--model"),
        ("model: a\ngpux: l4\n", "services/0/gpux", "no such setting", "did you mean gpu?"),
        ("modle: a\n", "services/0/modle", "no such setting", "did you mean model?"),
        ("flet: [{gpu: l4}]\n---\nmodel: a\n", "services/0/flet", "no such", "you mean fleet?"),
        ("fleet: [{gpu: l4}]\nmodel: a\n", "service.yaml", "has no service", "of its own"),
        ("fleet: [{gpu: l4}]\n---\n- a\n", "services/0", "list where a mapping", "model: "),
        ("model: a\n---\nmodel: b\nport: 0\n", "services/1/port", "(got 0)", "Port"),
        ("model: a\ngpus: two\n", "services/0/gpus", "'two'", "GPUs"),
        ("model: a\nname: Upper_Case\n", "services/0/name", "'Upper_Case'", "DNS label"),
        ('model: a\nname: "tiny\\n"\n', "services/0/name", "tiny", "DNS label"),
        ('model: a\nname: "e\\u0301tude"\n', "services/0/name", "tude", "DNS label"),
        ("model: a\nmodel: b\n", "service.yaml:2", "written twice", "YAML"),
        ("model: [unclosed\n", "service.yaml:2", "", "YAML"),
        ("- a\n- b\n", "services/0", "list where a mapping", "model: "),
        ("", "service.yaml", "no document", "model: "),
        ("model: a\nenv: {HF_TOKEN: hf_x}\n", "services/0/env", "looks like a secret", ""),
        ("model: --flag\n", "services/0/model", "begin with a dash", ""),
        ('model: "a\\nb"\n', "services/0/model", "printable", "Checkpoint"),
        ("model: a\n---\nmodel: a\nport: 1\n", "services/1/name", "used by services/0", "own"),
        ("model: a\n---\nmodel: b\n", "services/1/port", "used by services/0", "own"),
        (
            "model: a\ngpu: cpu\nreplicas: 2\n---\nmodel: b\ngpu: cpu\nport: 8001\n",
            "services/1/port",
            "8001 is used by services/0",
            "own",
        ),
        (
            "model: a\ntarget: process\nreplicas: 2\n---\nmodel: b\nport: 8001\n",
            "services/1/port",
            "8001 is used by services/0",
            "own",
        ),
        (
            "model: a\ntarget: docker\n---\nmodel: b\ntarget: process\ngateway: true\n",
            "services/1/port",
            "8000 is used by services/0",
            "own",
        ),
        *(
            (f"model: a\ndomain: {name}\n", "services/0/domain", "in lower case, such as", "xn--")
            for name in (
                *("A.b", "http://a.b", "'*.a.b'", "10.0.0.1", "'::1'", "a.b.", "bücher.example"),
                *("a.b:443", "a.b/v1", "''", "a..b", "-a.b"),
            )
        ),
        ("model: a\nhold: true\n", "services/0/hold", "should be a number", "(seconds), 5m"),
        ("model: a\nport: yes\n", "services/0/port", "should be a number", "Port"),
        ("model: a\ngpu_memory_gib: on\n", "services/0/gpu_memory_gib", "a number", "GiB"),
        *(
            (f"model: a\n{field}: {{{name}: {value}}}\n", f"{field}/{name}", "a number", hint)
            for field, name, hint in (("watchdog", "stall", ""), ("request_limits", "n", "most"))
            for value in ("true", "yes", "off")
        ),
        ("model: a\nhold: 5 min\n", "services/0/hold", "not a duration; write", "(seconds), 5m"),
        ("model: a\nhold: 500ms\n", "services/0/hold", "not in whole seconds", "(seconds), 5m"),
        ("model: a\nhold: 2h\n", "services/0/hold", "less than or equal to 3600", "seconds"),
        (f"model: a\nhold: {'9' * 400}s\n", "services/0/hold", "whole seconds", "seconds"),
        # It took minutes: of so many digits, each was begun at.
        (f"model: a\nhold: {'9' * 300_000}d\n", "services/0/hold", f"'{'9' * 40}' is not a", ""),
        ("model: a\nbeside: no\n", "services/0/beside", "no such setting", "line alone: --beside"),
        ("model: a\nmax_model_len: .inf\n", "services/0/max_model_len", "", ""),
        ("model: a\ngpu_memory_gib: .nan\n", "services/0/gpu_memory_gib", "", ""),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path, text, where, message, hint):
    with pytest.raises(SpecError) as caught:
        load_specs([write(tmp_path, text)], {})
    error = caught.value
    assert where in (error.where or "")
    assert message in error.message
    assert hint in (error.hint or "")
    assert error.exit_code == 2


@pytest.mark.parametrize("said", ["300", "300s", "5m", "'5m'", "300.0"])
def test_a_duration_is_said_as_flags_take_it(tmp_path, monkeypatch, said):
    text = f"model: a\nhold: {said}\nstartup_timeout: {said}\n"
    (spec,) = load_specs([write(tmp_path, text)], {})
    assert (spec.hold, spec.startup_timeout) == (300, 300)
    assert load_specs([], {"model": "a", "hold": said.strip("'")})[0].hold == 300
    monkeypatch.setenv("DEPLOYCTL_HOLD", said.strip("'"))
    assert load_specs([], {"model": "a"})[0].hold == 300


def test_of_two_with_one_name_in_two_files_both_places_are_said(tmp_path):
    files = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    files[0].write_text("model: a\n---\nmodel: b\nport: 8001\n")
    files[1].write_text("model: b\nport: 8002\n")
    with pytest.raises(SpecError) as caught:
        load_specs(files, {})
    assert caught.value.where == f"{files[1]}: services/0/name"
    assert f"'b' is used by {files[0]}: services/1 too" in caught.value.message


def test_a_wrong_flag_is_named_as_a_flag(tmp_path):
    with pytest.raises(SpecError) as caught:
        load_specs([], {"model": "a", "max_model_len": -1})
    assert caught.value.where == "--max-model-len"


def test_of_settings_that_do_not_go_together_the_one_too_many_is_named(tmp_path):
    with pytest.raises(SpecError, match="name with --domain") as caught:
        load_specs([], {"model": "x", "tls": "internal"})
    assert caught.value.where == "--tls"
    file = write(tmp_path, "model: x\ntls: internal\n")
    with pytest.raises(SpecError, match="name with --domain") as caught:
        load_specs([file], {})
    assert caught.value.where == f"{file}: services/0/tls"
    with pytest.raises(SpecError) as caught:  # of a domain that is none that alone is told
        load_specs([], {"model": "x", "tls": "internal", "domain": "X"})
    assert caught.value.where == "--domain"


def test_a_wrong_variable_is_named_as_a_variable(monkeypatch):
    monkeypatch.setenv("DEPLOYCTL_GPUS", "many")
    with pytest.raises(SpecError) as caught:
        load_specs([], {"model": "a"})
    assert caught.value.where == "DEPLOYCTL_GPUS"


def test_broken_json_in_a_variable(monkeypatch):
    monkeypatch.setenv("DEPLOYCTL_ENGINE_ARGS", "{not json")
    with pytest.raises(SpecError) as caught:
        load_specs([], {"model": "a"})
    assert "DEPLOYCTL_" in (caught.value.where or "")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: " + b"[" * 3000])
def test_hostile_bytes(tmp_path, content):
    file = tmp_path / "service.yaml"
    file.write_bytes(content)
    with pytest.raises(SpecError):
        load_specs([file], {})


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(SpecError, match="cannot read"):
            load_specs([path], {})


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", "qwen2-5-7b-instruct-awq"),
        ("/models/My Model/", "my-model"),
        ("./7b", "m-7b"),
        ("org/" + "x" * 90, "x" * 40),
        ("$(rm -rf ~)", "rm-rf"),
        ("../..", "m"),
    ],
)
def test_service_names(model, name):
    assert service_name(model) == name


@pytest.mark.parametrize("value", [".nan", ".inf", "[1.0, .nan]"])
def test_an_engine_argument_that_is_no_number(tmp_path, value):
    file = tmp_path / "service.yaml"
    file.write_text(f"model: m\nengine_args: {{max-num-seqs: {value}}}\n")
    with pytest.raises(SpecError, match="which is no number"):
        load_specs([file], {})


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("gpu_memory_gib", 1e300),
        ("gpu_memory_held_gib", 1e300),
        ("kv_cache_gib", 1e300),
        ("max_model_len", 10**30),
        ("max_num_seqs", int("9" * 4000)),
        ("startup_timeout", 10**12),
        ("port", "9" * 5000),
    ],
)
def test_figures_beyond_all_machines_are_refused(flag, value):
    with pytest.raises(SpecError) as refused:
        load_specs([], {"model": "m", flag: value})
    assert refused.value.hint
    assert len(refused.value.message) < 300
