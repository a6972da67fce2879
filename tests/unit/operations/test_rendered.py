"""A rendered folder that a stranger made: no link is followed, no marker believed."""

import hashlib
import json
import os

import pytest

from deployctl.errors import InputError
from deployctl.operations.bundle import write
from deployctl.operations.rendered import MARKER, known, read
from deployctl.render import Bundle

BUNDLE = Bundle(
    target="docker", service="x", files={"compose.yaml": "a: 1\n", "secrets/.gitignore": "*\n"}
)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def plant(folder, **files):
    folder.mkdir(exist_ok=True)
    (folder / MARKER).write_text(json.dumps({"version": 1, "files": files}))


@pytest.fixture
def victim(tmp_path):
    file = tmp_path / "home" / "victim"
    file.parent.mkdir()
    file.write_text("keep")
    yield file
    assert file.read_text() == "keep"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("link", ["secrets", "compose.yaml", MARKER, "chart"])
def test_a_link_is_not_followed(tmp_path, victim, link, force):
    out = tmp_path / "out"
    plant(out, **{"chart/victim": digest("keep")})
    (out / link).unlink(missing_ok=True)
    (out / link).symlink_to(victim if "." in link else victim.parent)
    with pytest.raises(InputError, match="this is a link") as refused:
        write(out, BUNDLE, {}, force=force)
    assert refused.value.where == str(out / link)
    assert sorted(p.name for p in victim.parent.iterdir()) == ["victim"]


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_of_several_services_is_no_link_either(tmp_path, victim, force):
    out = tmp_path / "out"
    out.mkdir()
    (out / "chat").symlink_to(victim.parent)
    with pytest.raises(InputError, match="this is a link"):
        write(out / "chat" / "docker", BUNDLE, {}, force=force, root=out)


def test_the_folder_that_is_named_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    write(tmp_path / "out", BUNDLE, {}, force=False, root=tmp_path / "out")
    assert (tmp_path / "real" / "compose.yaml").read_text() == "a: 1\n"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "path",
    ["main.py", ".git/config", "src/values.yaml", "chart/../main.py", "/etc/passwd", "engine/a.py"],
)
def test_a_marker_names_nothing_but_what_a_render_gives(tmp_path, path, force):
    out = tmp_path / "out"
    plant(out, **{path: digest("mine")})
    (out / ".git").mkdir()
    (out / "main.py").write_text("mine")
    (out / ".git" / "config").write_text("mine")
    assert known(out) is None
    if force:
        write(out, BUNDLE, {}, force=True)
    else:
        with pytest.raises(InputError, match="did not render"):
            write(out, BUNDLE, {}, force=False)
    assert (out / "main.py").read_text() == (out / ".git" / "config").read_text() == "mine"


def test_a_temporary_file_that_was_planted_is_not_written_through(tmp_path, victim):
    out = tmp_path / "out"
    out.mkdir()
    (out / f".compose.yaml.{os.getpid()}").symlink_to(victim)
    write(out, BUNDLE, {}, force=True)
    assert (out / "compose.yaml").read_text() == "a: 1\n"


def test_a_file_is_read_where_it_is(tmp_path, victim):
    (tmp_path / "values.yaml").symlink_to(victim)
    (tmp_path / "chart").symlink_to(victim.parent)
    assert read(tmp_path, "values.yaml") is None
    assert read(tmp_path, "chart/victim") is None
    assert read(tmp_path, "run.sh") is None


def test_a_marker_without_end_is_none(tmp_path):
    (tmp_path / MARKER).symlink_to("/dev/zero")
    assert known(tmp_path) is None
    (tmp_path / MARKER).unlink()
    (tmp_path / MARKER).write_bytes(b" " * (2 * 1024 * 1024))
    assert known(tmp_path) is None


def test_what_every_target_renders_is_ours(tmp_path):
    from deployctl.operations.bundle import KINDS, readme, render
    from deployctl.operations.prepare import prepare
    from deployctl.operations.rendered import _is_ours
    from deployctl.spec import ServiceSpec
    from known import tiny_folder

    model = str(tiny_folder(tmp_path / "tiny"))
    behind = {"process": True, "docker": True}  # the gateway is before a host's services alone
    for kind in [k for k in KINDS if k != "manifests"]:
        for gateway in {False, behind.get(kind, False)}:
            spec = ServiceSpec(model=model, gpu="l4", expose=True, gateway=gateway)
            prepared = prepare(spec)
            plan = prepared.plan.model_copy(update={"model": "org/tiny", "model_local": False})
            prepared = prepared._replace(plan=plan)
            bundle = render(kind, prepared)
            for path in {**bundle.files, **readme(prepared, bundle)}:
                assert _is_ours(path), (kind, path)
    for folder in ("download", "engine", "monitoring", "router", "tests"):
        assert _is_ours(f"{folder}/deployment.yaml")


def test_what_is_there_already_is_not_written_again(tmp_path):
    write(tmp_path, BUNDLE, {"README.md": "old\n"}, force=False)
    same, other = tmp_path / "compose.yaml", tmp_path / "README.md"
    before = same.stat().st_ino
    write(tmp_path, BUNDLE, {"README.md": "new\n"}, force=False)
    assert (same.stat().st_ino, other.read_text()) == (before, "new\n")
    same.chmod(0o600)
    write(tmp_path, BUNDLE, {"README.md": "new\n"}, force=False)
    assert same.stat().st_mode & 0o777 == 0o644
