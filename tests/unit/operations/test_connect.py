"""How clients reach a service, by its target and its keys."""

import json
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from deployctl.cli.app import main
from deployctl.endpoint import Endpoint
from deployctl.errors import TargetError
from deployctl.operations import connect as connecting
from deployctl.operations.connect import NEW_KEY, connect
from deployctl.render.bundle import VALUES_FILE
from deployctl.targets import keyfile
from deployctl.targets.driver import EngineState
from deployctl.targets.shelf import FileShelf
from deployctl.targets.store import ServiceRef, Store

KEY = "the-key-itself"


class Running:
    """A driver of an engine that runs, or does not."""

    condition, gateway = "running", None

    def __init__(self, endpoint):
        self._endpoint = endpoint

    def state(self, release):
        return EngineState(self.condition)

    def endpoint(self, release):
        return self._endpoint


@pytest.fixture
def running(make_release, tmp_path, monkeypatch):
    """Records a release on a target, and what its driver is to say."""

    def put(target, endpoint, *, files=None, **spec):
        release = make_release(status="deployed", **spec)
        if files:
            bundle = release.bundle.model_copy(update={"files": files})
            release = release.model_copy(update={"bundle": bundle})
        shelves = {"docker": lambda: FileShelf(tmp_path / "docker")}
        shelves["kubernetes"] = lambda: FileShelf(tmp_path / "kubernetes")
        store = Store(tmp_path / "state", shelves)
        store.save(ServiceRef(target, "tiny"), release)
        (store.root / target).mkdir(parents=True, exist_ok=True)
        driver = Running(endpoint)
        settings, _ = connecting.open_store()
        monkeypatch.setattr(connecting, "open_store", lambda: (settings, store))
        monkeypatch.setattr(connecting, "open_driver", lambda *_: driver)
        return driver, store.folder(ServiceRef(target, "tiny"))

    return put


@pytest.mark.parametrize("target", ["process", "docker"])
def test_on_a_host_clients_ask_where_it_listens(running, target):
    _, folder = running(target, Endpoint("http://127.0.0.1:8000", "tiny", KEY), expose=True)
    connection = connect("tiny")
    assert connection.way.base_url == "http://127.0.0.1:8000/v1"
    assert connection.way.key_file == str(folder / "api_key")
    assert connection.elsewhere.endswith(":8000/v1")
    assert connection.before is None


def test_other_machines_ask_the_gateway_where_that_is_exposed(running):
    gateway = "http://127.0.0.1:8080/tiny"
    endpoint = Endpoint("http://127.0.0.1:8000", "tiny", KEY, gateway=gateway)
    running("process", endpoint, expose=True)
    assert connect("tiny").elsewhere == f"http://{socket.gethostname()}:8080/tiny/v1"
    running("process", endpoint._replace(gateway="https://llm.example.com/tiny"), expose=True)
    assert connect("tiny").elsewhere is None, "the domain is everybody's"
    running("process", endpoint)
    assert connect("tiny").elsewhere is None


def test_a_certificate_of_the_gateways_own_is_verified_by_what_it_signed(
    running, capsys, monkeypatch
):
    domain = "https://llm.example.com:8443"
    driver, _ = running("process", Endpoint("http://127.0.0.1:8000", "tiny", None, gateway=domain))
    driver.gateway = SimpleNamespace(ca_file=lambda service: Path("/state/root.crt"))
    assert connect("tiny").document()["ca_file"] == "/state/root.crt"
    out = said(capsys, monkeypatch)
    assert f"curl --cacert /state/root.crt {domain}/v1/chat/completions" in out
    assert "/state/root.crt verifies the gateway's certificate" in out
    driver.gateway.ca_file = lambda service: None  # of a public authority
    assert connect("tiny").way.ca_file is None


def test_the_page_to_chat_on_is_named_where_there_is_one(running, capsys, monkeypatch):
    endpoint = Endpoint("http://127.0.0.1:8000", "tiny", None, gateway="http://127.0.0.1:8080/tiny")
    running("process", endpoint, gateway=True)
    assert connect("tiny").document()["chat_url"] is None
    running("process", endpoint, gateway=True, with_chat=True)
    assert connect("tiny").document()["chat_url"] == "http://127.0.0.1:8080/tiny/chat/"
    assert "http://127.0.0.1:8080/tiny/chat/" in said(capsys, monkeypatch)


def test_on_another_host_it_is_that_ones_address(running):
    running("docker", Endpoint("http://gpu-box:8000", "tiny", KEY), expose=True)
    assert connect("tiny").elsewhere is None
    assert connect("tiny").way.base_url == "http://gpu-box:8000/v1"
    by_line = Endpoint("http://127.0.0.1:35791", "tiny", KEY, published="http://gpu-box:8000")
    running("docker", by_line, expose=True)
    assert connect("tiny").elsewhere is None
    assert connect("tiny").way.base_url == "http://gpu-box:8000/v1"


@pytest.mark.parametrize("ingress", ["false", "true"])
def test_in_a_cluster_a_forwarded_port_comes_first(running, ingress):
    inside = "http://tiny-router.llm.svc:8080"
    values = f"ingress: {{enabled: {ingress}, host: llm.example.com}}\n"
    endpoint = Endpoint("http://127.0.0.1:35791", "tiny", KEY, inside=inside)
    running("kubernetes", endpoint, files={VALUES_FILE: values}, context="lab")
    connection = connect("tiny", "kubernetes")
    assert connection.before == (
        "kubectl --context lab --namespace llm port-forward service/tiny-router 8080:8080"
    )
    assert connection.way.base_url == "http://127.0.0.1:8080/v1"
    assert connection.inside == f"{inside}/v1"
    assert connection.elsewhere == ("https://llm.example.com/v1" if ingress == "true" else None)
    assert "35791" not in json.dumps(connection.document())  # a port of this command alone


def test_a_service_that_has_named_keys_alone_says_how_to_get_one(running, capsys, monkeypatch):
    _, folder = running("process", Endpoint("http://127.0.0.1:8000", "tiny", None))
    assert not connect("tiny").wants_key
    named = {"version": 1, "keys": [{"name": "alice", "sha256": keyfile.hash_of("a")}]}
    (folder / "keys.json").write_text(json.dumps(named))
    connection = connect("tiny")
    assert connection.wants_key
    assert connection.way.key_file == NEW_KEY
    out = said(capsys, monkeypatch)
    assert f"deployctl keys add tiny NAME > {NEW_KEY}" in out


def test_commands_to_paste_say_where_as_the_one_that_shows_them_did(running, capsys, monkeypatch):
    """Without --namespace, `keys add` was of another namespace's service."""
    values = "ingress: {enabled: false}\n"
    inside = Endpoint("http://127.0.0.1:35791", "tiny", None, inside="http://tiny.llm.svc:8080")
    for name in ("CONTEXT", "NAMESPACE"):  # which the options leave in the environment
        monkeypatch.setenv(f"DEPLOYCTL_{name}", "")
    _, folder = running("kubernetes", inside, files={VALUES_FILE: values}, expose=True)
    revoked = {"version": 1, "keys": [], "revoked": ["default"]}
    (folder / "keys.json").write_text(json.dumps(revoked))
    out = said(capsys, monkeypatch, "--context", "lab", "--namespace", "llm")
    assert f"keys add tiny NAME --context lab --namespace llm > {NEW_KEY}" in out
    assert f"keys add tiny NAME > {NEW_KEY}" in said(capsys, monkeypatch, "--target", "kubernetes")


def test_a_key_that_was_revoked_is_no_key_to_paste(running, capsys, monkeypatch):
    endpoint = Endpoint("http://127.0.0.1:8000", "tiny", KEY)
    _, folder = running("process", endpoint, expose=True)
    revoked = {"version": 1, "keys": [], "revoked": ["default"]}
    (folder / "keys.json").write_text(json.dumps(revoked))
    assert connect("tiny").way.key_file == NEW_KEY
    out = said(capsys, monkeypatch, "--show-key")
    assert KEY not in out
    assert f"deployctl keys add tiny NAME > {NEW_KEY}" in out


@pytest.mark.parametrize("output", ["text", "json"])
def test_the_key_is_shown_where_that_is_asked_for_alone(running, capsys, monkeypatch, output):
    running("process", Endpoint("http://127.0.0.1:8000", "tiny", KEY), expose=True)
    assert KEY not in said(capsys, monkeypatch, "--output", output)
    assert KEY in said(capsys, monkeypatch, "--show-key", "--output", output)


def test_one_that_does_not_run_is_no_address_to_paste(running, make_release):
    driver, _ = running("process", Endpoint("http://127.0.0.1:8000", "tiny", None))
    driver.condition = "dead"
    with pytest.raises(TargetError, match="tiny does not run") as raised:
        connect("tiny")
    assert raised.value.exit_code == 4


def said(capsys, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["deployctl", "status", "tiny", "--connect", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    done = capsys.readouterr()
    assert ended.value.code == 0, done.err
    return done.out
