"""`--host`: what it leaves for the target, and with what it does not go."""

import os
import sys

import pytest

from deployctl.cli.app import main
from deployctl.endpoint import without_credentials

HOST = "ssh://ops@gpu1"


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """What a verb is told, and finds in the environment."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DEPLOYCTL_STATE_DIR"):
        monkeypatch.setenv(name, str(tmp_path) if name.startswith("DEPLOYCTL") else "before")
    seen = {}

    def look(name, target):
        seen.update(os.environ, target=target)
        return []

    monkeypatch.setattr("deployctl.operations.deploy.services.status", look)

    def call(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["deployctl", "status", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        done = capsys.readouterr()
        assert ended.value.code == code, done.err
        return seen if code == 0 else done.err

    return call


@pytest.mark.parametrize("by", ["option", "variable"])
def test_it_says_where_the_engine_is_and_has_a_folder_of_its_own(run, monkeypatch, tmp_path, by):
    if by == "variable":
        monkeypatch.setenv("DEPLOYCTL_HOST", HOST)
    seen = run(*(["--host", HOST] if by == "option" else []))
    assert (seen["DOCKER_HOST"], seen["target"]) == (HOST, "docker")
    assert "DOCKER_CONTEXT" not in seen
    assert seen["DEPLOYCTL_STATE_DIR"] == str(tmp_path / "hosts" / "ops@gpu1")


def test_which_cards_a_shell_has_says_nothing_of_that_host(run, monkeypatch):
    """`--gpu auto` would see no card there, and a canary no room."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert "CUDA_VISIBLE_DEVICES" not in run("--host", HOST)


def test_it_is_for_docker_alone_and_names_a_host(run):
    assert "target process knows no other host" in run(
        "--host", HOST, "--target", "process", code=2
    )
    for url in ("gpu1", "tcp://gpu1:2375", "ssh://", "ssh://ops:secret@gpu1"):
        said = run("--host", url, code=2)
        assert "write ssh://USER@HOST" in said
        assert "secret" not in said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at ssh://ops@gpu1:22/", "at ssh://ops@gpu1:22/"),
        ("at ssh://ops:secret@gpu1", "at ssh://gpu1"),
        ("at https://me:secret@h/ or http://token@h/", "at https://h/ or http://h/"),
    ],
)
def test_a_user_of_ssh_is_shown_and_no_password(text, shown):
    assert without_credentials(text) == shown
