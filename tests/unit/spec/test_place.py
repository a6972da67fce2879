"""Where in a spec file an error is, by what the error itself says of it."""

from pathlib import Path

import pytest

from deployctl.errors import InputError, PlanRefusedError, SpecError, TargetError
from deployctl.spec import load_specs
from deployctl.spec.place import Said, SpecPlace, locate, mark, said_where

FLEET = """\
# two services
model: org/one
gpu: l4
engine_args:
  max_num_seqs: 4
---
model: org/two
name: other
  # a comment
gpu: h100
replicas: many
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("service.yaml").write_text(FLEET)
    return Path("service.yaml")


@pytest.mark.parametrize(
    ("where", "index", "line", "column"),
    [
        ("service.yaml: services/1/replicas", None, 11, 1),
        ("service.yaml: services/0/engine_args/max_num_seqs", None, 5, 3),
        ("service.yaml: services/0/engine_args/nothing/here", None, 4, 1),
        ("services/1/name", None, 8, 1),
        ("service.yaml:7:4", None, 7, 4),
        ("service.yaml:7", None, 7, 1),
        ("service.yaml", None, 1, 1),
        ("--gpu", 1, 10, 1),
        ("--max-model-len", 1, 7, 1),
        ("two", None, 1, 1),
        (None, 1, 7, 1),
        ("service.yaml: services/9/gpu", None, 1, 1),
    ],
)
def test_the_place_of_an_error(file, where, index, line, column):
    assert locate(where, [file], index) == SpecPlace(file, line, column)


def test_a_path_counts_in_its_own_file_and_without_one_through_all(file):
    Path("more.yaml").write_text("\nmodel: org/three\n")
    more = Path("more.yaml")
    assert locate("more.yaml: services/0/model", [file, more]) == SpecPlace(more, 2, 1)
    assert locate("services/2/model", [file, more]) == SpecPlace(more, 2, 1)


def test_there_is_none_without_a_file():
    assert locate("--gpu", []) is None
    assert locate("services/0/gpu", []) is None


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        (FLEET, 11, 1),
        ("model: org/one\ngpu: l4\nreplica: 2\n", 3, 1),
        ("model: org/one\ngpu: {a: [\n", 3, 1),
        ("model: org/one\n\n\nmodel: org/two\n", 4, 1),
        ("{model: org/one, replicas: x}", 1, 18),
    ],
)
def test_what_load_specs_refuses_has_its_line(file, text, line, column):
    file.write_text(text)
    with pytest.raises(SpecError) as refused:
        load_specs([file], {})
    assert locate(refused.value.where, [file]) == SpecPlace(file, line, column)


@pytest.mark.parametrize(
    ("where", "service", "flags", "said"),
    [
        ("hold", "other", {}, "service.yaml: services/1/hold"),
        ("hold", "other", {"hold"}, "--hold"),
        ("env/A", "one", {"env"}, "--env/A"),
        ("--gpu", "one", {}, "service.yaml: services/0/gpu"),  # planning names it as a flag
        ("--target", None, {}, "--target"),  # which may be a verb's own
        ("hold", None, {}, "hold"),  # of which service nobody knows
        ("services/1/gpu", None, {}, "service.yaml: services/1/gpu"),
        ("services/7/gpu", None, {}, "services/7/gpu"),
        ("service.yaml:3", None, {}, "service.yaml:3"),
        (None, "one", {}, None),
        # Files in a folder that is called as a setting is.
        ("env/prod.yaml: services/0/gpu", None, {"env"}, "env/prod.yaml: services/0/gpu"),
        ("gpu/own.yaml", "one", {"gpu"}, "gpu/own.yaml"),
        ("engine_args/grpc", "one", {}, "service.yaml: services/0/engine_args/grpc"),
    ],
)
def test_what_a_later_error_names_is_where_it_was_said(file, where, service, flags, said):
    error = SpecError("wrong", where=where)
    error.service = service
    assert said_where(error, Said(flags, [file], ["one", "other"])) == said


def test_a_variable_is_named_where_no_flag_wins_over_it(file, monkeypatch):
    monkeypatch.setenv("deployctl_hold", "30")  # pydantic-settings takes it so, too
    error = SpecError("wrong", where="hold")
    assert said_where(error, Said((), [file], ["one", "other"])) == "DEPLOYCTL_HOLD"
    assert said_where(error, Said({"hold"})) == "--hold"
    assert said_where(SpecError("wrong", where="port"), Said()) == "--port"


def test_services_are_counted_through_all_files(file):
    Path("more.yaml").write_text("model: org/three\n")
    error = SpecError("wrong", where="hold")
    error.service = "three"
    said = Said((), [file, Path("more.yaml")], ["one", "other", "three"])
    assert said_where(error, said) == "more.yaml: services/0/hold"


@pytest.mark.parametrize(
    ("kind", "where", "service", "said"),
    [
        (InputError, "--name vllm", "other", "service.yaml: services/1: --name vllm"),
        (PlanRefusedError, "--target", "one", "service.yaml: services/0: --target"),  # of the verb
        (PlanRefusedError, None, "one", "service.yaml: services/0"),
        (InputError, "hold", "other", "service.yaml: services/1/hold"),
        (InputError, "service.yaml: services/0: --x", "other", "service.yaml: services/0: --x"),
        (InputError, "--out", None, "--out"),
        (TargetError, "127.0.0.1:8000", "one", "127.0.0.1:8000"),
    ],
)
def test_of_several_services_an_error_says_which_it_is_of(file, kind, where, service, said):
    error = kind("wrong", where=where)
    error.service = service
    mark(error, Said({"target"}, [file], ["one", "other"]))
    assert (error.where, error.files) == (said, [file])
    if isinstance(error, InputError):
        assert locate(error.where, [file]).line in (1, 2, 7)
