"""A rendered folder: the same bytes twice, and nothing of the user's lost."""

import json

import pytest
import yaml

from deployctl.errors import InputError, StateError
from deployctl.operations.bundle import ChartOptions, render, write
from deployctl.operations.prepare import prepare
from deployctl.operations.rendered import MARKER
from deployctl.render import Bundle
from deployctl.spec import ServiceSpec
from known import tiny_folder

BUNDLE = Bundle(
    target="docker", service="x", files={"compose.yaml": "a: 1\n", "secrets/.gitignore": "*\n"}
)
BESIDE = {"README.md": "# x\n"}


def content(folder):
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def test_twice_gives_the_same_bytes(tmp_path):
    write(tmp_path / "out", BUNDLE, BESIDE, force=False)
    first = content(tmp_path / "out")
    write(tmp_path / "out", BUNDLE, BESIDE, force=False)
    assert content(tmp_path / "out") == first
    assert set(first) == {"compose.yaml", "secrets/.gitignore", "README.md", MARKER}


def test_a_folder_of_others_is_refused_and_untouched(tmp_path):
    (tmp_path / "theirs.txt").write_text("keep")
    with pytest.raises(InputError, match="did not render") as caught:
        write(tmp_path, BUNDLE, {}, force=False)
    assert "--force" in caught.value.hint
    assert content(tmp_path) == {"theirs.txt": b"keep"}
    write(tmp_path, BUNDLE, {}, force=True)
    assert content(tmp_path)["theirs.txt"] == b"keep"


def test_an_empty_folder_is_fine(tmp_path):
    write(tmp_path, BUNDLE, {}, force=False)
    assert (tmp_path / "compose.yaml").read_text() == "a: 1\n"


def test_a_file_that_the_user_changed_is_refused(tmp_path):
    write(tmp_path, BUNDLE, BESIDE, force=False)
    (tmp_path / "compose.yaml").write_text("a: 2\n")
    with pytest.raises(InputError, match="changed since") as caught:
        write(tmp_path, BUNDLE, BESIDE, force=False)
    assert caught.value.where == str(tmp_path / "compose.yaml")
    write(tmp_path, BUNDLE, BESIDE, force=True)
    assert (tmp_path / "compose.yaml").read_text() == "a: 1\n"


def test_a_new_render_replaces_the_old_and_leaves_secrets(tmp_path):
    write(tmp_path, BUNDLE, BESIDE, force=False)
    (tmp_path / "secrets" / "api_key").write_text("k")
    other = BUNDLE.model_copy(update={"files": {"run.sh": "#!/bin/sh\n"}})
    write(tmp_path, other, {}, force=False)
    assert set(content(tmp_path)) == {"run.sh", "secrets/api_key", MARKER}
    assert (tmp_path / "run.sh").stat().st_mode & 0o111


@pytest.mark.parametrize(
    "marker",
    [
        "not json",
        "[]",
        '{"files": []}',
        json.dumps({"files": {"../../victim": "0"}}),
        json.dumps({"files": {"/victim": "0"}}),
    ],
)
def test_a_marker_that_lies_is_not_believed(tmp_path, marker):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (tmp_path / "victim").write_text("keep")
    (folder / MARKER).write_text(marker)
    with pytest.raises(InputError, match="did not render"):
        write(folder, BUNDLE, {}, force=False)
    write(folder, BUNDLE, {}, force=True)
    assert (tmp_path / "victim").read_text() == "keep"


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(InputError, match="a file, not a folder"):
        write(tmp_path / "out", BUNDLE, {}, force=False)
    with pytest.raises(StateError, match="cannot write"):
        write(tmp_path / "out" / "deeper", BUNDLE, {}, force=True)


def hub_model(tmp_path, name="chat"):
    """A service of the target kubernetes that serves a model of the Hub."""
    spec = ServiceSpec(model=str(tiny_folder(tmp_path / "tiny")), gpu="l4", target="kubernetes")
    prepared = prepare(spec.model_copy(update={"name": name}))
    plan = prepared.plan.model_copy(update={"model": "org/tiny", "model_local": False})
    return prepared._replace(plan=plan)


@pytest.mark.parametrize(
    ("said", "has"),
    [
        ({}, {"existingSecret": "chat-api-key"}),
        ({"existingSecret": "mine", "key": "t"}, {"existingSecret": "mine", "key": "t"}),
        ({"value": "hf_x"}, {"value": "hf_x"}),
    ],
)
def test_a_clusters_pods_read_the_hubs_token_where_up_puts_it(tmp_path, said, has):
    options = ChartOptions(overrides={"hubToken": said})
    values = render("kubernetes", hub_model(tmp_path), options).files["values.yaml"]
    assert yaml.safe_load(values)["hubToken"] == has


def test_a_service_that_would_break_its_engine_is_refused(tmp_path):
    with pytest.raises(InputError, match="VLLM_PORT") as refused:
        render("kubernetes", hub_model(tmp_path, "vllm"))
    assert refused.value.where == "--name vllm"
