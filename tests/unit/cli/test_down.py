"""`deployctl down`: what it answers where something is not ended."""

import json
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from deployctl.cli.app import main
from deployctl.errors import DockerError, NotFoundError
from deployctl.operations.deploy import deployment, services
from deployctl.operations.monitoring import stack
from deployctl.spec import ServiceSpec
from deployctl.targets.store import ServiceRef, Store


@pytest.fixture
def down(monkeypatch, capsys):
    """Ends `a` and `b` of target process by words; what was answered, and the exit code."""

    def run(*words):
        refs = [ServiceRef("process", name) for name in ("a", "b")]
        monkeypatch.setattr("deployctl.cli.down._chosen", lambda *_: dict.fromkeys(refs))
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


@pytest.fixture
def down_file(monkeypatch, tmp_path, capsys):
    """Ends the services of a file, of which others began some on Docker; what was ended where."""

    def shelf(ours, others):
        return lambda: SimpleNamespace(services=lambda: ours, others=lambda: others)

    shelves = {"docker": shelf([], ["theirs", "foreign"]), "kubernetes": shelf(["a", "b"], [])}
    store = Store(tmp_path, shelves, shared=["docker"])
    monkeypatch.setattr(services, "records", lambda settings: store)
    ended = []

    def end(name, *, target, spec, **more):
        settings, _ = services.open_store(spec)
        ended.append((name, target, settings.context, settings.namespace))
        return []

    monkeypatch.setattr(deployment, "down", end)

    def run(text):
        (tmp_path / "services.yaml").write_text(text)
        monkeypatch.setattr(sys, "argv", ["deployctl", "down", "-f", f"{tmp_path}/services.yaml"])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 0, capsys.readouterr().err
        return ended

    return run


def test_the_services_of_a_file_are_ended_in_the_clusters_that_it_names(down_file):
    """Another namespace may have one of the same name."""
    text = "model: x/a\nnamespace: llm\ncontext: lab\n---\nmodel: x/b\nnamespace: ml\n"
    assert down_file(text) == [("a", "kubernetes", "lab", "llm"), ("b", "kubernetes", None, "ml")]


def test_a_service_of_a_file_that_others_began_is_ended_too(down_file):
    """A pipeline's state folder is empty."""
    for said in ("", "target: docker\n"):
        ended = down_file(f"model: x/theirs\n{said}---\nmodel: x/never-up\nport: 8001\n")
        assert [each[:2] for each in ended] == [("theirs", "docker")]
        ended.clear()


def test_a_service_is_looked_for_in_the_cluster_of_its_spec(monkeypatch):
    spec = ServiceSpec(model="a/chat", namespace="llm")
    asked = Mock(side_effect=NotFoundError("there is no service"))
    monkeypatch.setattr(deployment, "open_store", asked)
    with pytest.raises(NotFoundError):
        deployment.down("chat", spec=spec)
    asked.assert_called_once_with(spec)
