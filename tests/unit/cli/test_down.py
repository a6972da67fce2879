"""`deployctl down`: what it answers where something is not ended."""

import json
import sys

import pytest

from deployctl.cli.app import main
from deployctl.errors import DockerError
from deployctl.operations.deploy import deployment
from deployctl.operations.monitoring import stack
from deployctl.targets.store import ServiceRef


@pytest.fixture
def down(monkeypatch, capsys):
    """Ends `a` and `b` of target process by words; what was answered, and the exit code."""

    def run(*words):
        refs = [ServiceRef("process", name) for name in ("a", "b")]
        monkeypatch.setattr("deployctl.cli.down._chosen", lambda names, files, target: refs)
        monkeypatch.setattr(sys, "argv", ["deployctl", "down", *words, "--output", "json"])
        with pytest.raises(SystemExit) as ended:
            main()
        return json.loads(capsys.readouterr().out), ended.value.code

    return run


def fails(*_, **__):
    raise DockerError("Docker refuses")


def test_what_is_down_is_answered_though_monitoring_stays(down, monkeypatch):
    monkeypatch.setattr(deployment, "down", lambda name, **more: [])
    monkeypatch.setattr(stack, "end", fails)
    answer, code = down("a", "b", "--monitoring")
    assert code == 4
    assert [each["service"] for each in answer["services"]] == ["a", "b"]
    answer, code = down("--monitoring")
    assert (answer["services"], code) == ([], 4)


def test_what_is_down_is_answered_though_the_next_is_not(down, monkeypatch):
    monkeypatch.setattr(deployment, "down", lambda name, **more: [] if name == "a" else fails())
    answer, code = down("--all")
    assert code == 4
    assert [each["service"] for each in answer["services"]] == ["a"]
