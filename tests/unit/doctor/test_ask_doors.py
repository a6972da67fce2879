"""Whether the services that run let strangers in, as doctor asks them."""

import httpx

from deployctl.doctor import probes
from deployctl.files import write_private
from deployctl.targets.driver import EngineState
from deployctl.targets.keys import OPERATOR_TOKEN
from deployctl.targets.process import ProcessDriver
from deployctl.targets.store import ServiceRef, Store

TOKEN = "the-operator-s"


def test_services_that_run_are_asked_as_a_stranger_would(make_release, tmp_path, monkeypatch):
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    conditions = {"closed": "running", "open": "running", "ended": "dead"}
    monkeypatch.setattr(
        ProcessDriver, "state", lambda self, release: EngineState(conditions[release.service])
    )
    store = Store(tmp_path / "state")
    for number, name in enumerate(conditions):
        release = make_release(status="deployed", name=name, port=9000 + number)
        if name == "open":  # as it was rendered before there was a door
            plain = {p: t for p, t in release.bundle.files.items() if not p.startswith("door/")}
            bundle = release.bundle.model_copy(update={"files": plain})
            release = release.model_copy(update={"bundle": bundle})
        store.save(ServiceRef("process", name), release)
        write_private(store.folder(ServiceRef("process", name)) / OPERATOR_TOKEN, TOKEN.encode())

    def answers(_, request):
        assert TOKEN not in request.headers.get("authorization", "")
        return httpx.Response(200 if request.url.port == 9001 else 404)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answers)
    closed, opened = probes.ask_doors()
    assert (closed.service, closed.closed) == ("closed", True)
    assert (opened.service, opened.closed) == ("open", False)
    assert "POST /invocations" in opened.detail
    assert "deployctl up" in opened.fix


def test_a_damaged_record_is_no_reason_to_fail(make_release, tmp_path, monkeypatch):
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    releases = tmp_path / "state" / "process" / "tiny" / "releases"
    releases.mkdir(parents=True)
    (releases / "000001.json").write_text("{")
    assert probes.ask_doors() == ()
