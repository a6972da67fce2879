"""What is a folder, what is a Hub id, and what is neither."""

from pathlib import Path

import pytest

from deployctl.errors import ModelError
from deployctl.hub.source import HubId, check_revision, locate


@pytest.mark.parametrize(
    "name", ["gpt2", "Qwen/Qwen2.5-7B-Instruct-AWQ", "a/b", "org_1/m.0_x", "0x/y2"]
)
def test_hub_ids(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate(name, "main") == HubId(name, "main")


@pytest.mark.parametrize("name", ["/models/x", "./x", "../x", ".", ".."])
def test_paths_are_folders_whether_they_exist_or_not(name: str) -> None:
    found = locate(name)
    assert isinstance(found, Path)
    assert found.is_absolute()


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/m") == tmp_path / "m"


def test_an_existing_folder_wins_over_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert locate("org/model") == tmp_path / "org" / "model"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a/b/c",
        "x; rm",
        "x\nname: y",
        "-rf",
        "--help",
        "a\0b",
        "a" * 97,
        "a/" + "b" * 5000,
        "org/..",
        "org/.hidden",
        "a--b/c",
        "org/x.git",
        "org/x.",
        "org//x",
        "org/",
        "$(id)",
        "`id`",
        "{{x}}",
        "a: b",
        "!!python/object",
        "org/x|y",
        "организация/модель",
        "a b",
        "org\\model",
        "\ud800",
    ],
)
def test_tricks_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as caught:
        locate(name)
    assert caught.value.exit_code == 2
    assert caught.value.where is not None
    assert caught.value.where.isprintable()
    assert len(caught.value.where) < 140


def test_an_address_gets_the_id_as_a_hint() -> None:
    with pytest.raises(ModelError) as caught:
        locate("https://huggingface.co/Qwen/Qwen3-8B")
    assert "Qwen/Qwen3-8B" in str(caught.value.hint)


def test_a_folder_has_no_revision() -> None:
    with pytest.raises(ModelError, match="no revisions"):
        locate("./x", "main")


def test_a_path_longer_than_the_system_allows() -> None:
    with pytest.raises(ModelError, match="longer"):
        locate("/" + "x" * 5000)


def test_no_such_user() -> None:
    with pytest.raises(ModelError, match="home"):
        locate("~nobody-of-this-name/x")


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/7", "a" * 40])
def test_revisions(revision: str) -> None:
    assert check_revision(revision) == revision


@pytest.mark.parametrize(
    "revision", ["", "a..b", "../x", "a b", "a\n", "/x", "-x", "a//b", "x" * 256]
)
def test_wrong_revisions(revision: str) -> None:
    with pytest.raises(ModelError):
        check_revision(revision)
