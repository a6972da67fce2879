"""A test alert, against an Alertmanager whose answers a test makes."""

import json
from types import SimpleNamespace

import httpx
import pytest
import yaml
from pydantic import TypeAdapter

from deployctl import web
from deployctl.errors import InputError, TargetError
from deployctl.operations.monitoring.request import AlertRequest
from deployctl.operations.monitoring.testalert import alerts, in_words, try_alert
from deployctl.render.monitoring.alertmanager import configuration, routed
from deployctl.spec.receivers import Receivers
from monitoring_parts import RECEIVERS

URL = "http://127.0.0.1:9093"
TOLD = TypeAdapter(Receivers).validate_python(RECEIVERS)
KINDS = {"on-call": "pagerduty", "team": "slack", "hook": "webhook", "mail": "email"}


class Manager:
    """An Alertmanager with a configuration of ours. `tells` is what becomes of each kind."""

    def __init__(self, receivers=TOLD, tells="ok"):
        self.receivers, self.tells = receivers, tells
        self.config = configuration(receivers)
        self.sent, self.status, self.unseen, self.after = [], {"state": "active"}, 0, 0
        self.paths = []

    def __call__(self, request):
        self.paths.append(request.url.path)
        if request.method == "POST":
            self.sent += json.loads(request.content)
            return httpx.Response(200)
        return {
            "/api/v2/status": self._status, "/api/v2/alerts": self._alerts,
            "/metrics": self._metrics,
        }[request.url.path](request)  # fmt: skip

    def _status(self, _):
        original = yaml.safe_dump(self.config)
        answer = {"versionInfo": {"version": "0.28.1"}, "config": {"original": original}}
        return httpx.Response(200, json=answer)

    def _alerts(self, request):
        labels = self.sent[-1]["labels"]
        assert request.url.params["filter"] == f'deployctl_test="{labels["deployctl_test"]}"'
        if self.unseen:
            self.unseen -= 1
            return httpx.Response(200, json=[])
        names = [{"name": name} for name in routed(self.receivers, labels)]
        return httpx.Response(200, json=[{"receivers": names, "status": self.status}])

    def _metrics(self, _):
        total, failed = ("alertmanager_notification_requests_total",
                         "alertmanager_notification_requests_failed_total")  # fmt: skip
        if self.sent and self.after:
            self.after -= 1
        told = self.sent and not self.after and self.tells != "never"
        lines = [f"# TYPE {total} counter"]
        lines += [f'{total}{{integration="{kind}"}} {8 if told else 7}' for kind in KINDS.values()]
        lines += [f"# TYPE {failed} counter"]
        for kind in KINDS.values():
            bad = told and self.tells == kind
            lines.append(f'{failed}{{integration="{kind}"}} {4 if bad else 3}')
        return httpx.Response(200, text="\n".join(lines) + "\n")


@pytest.fixture
def clock():
    class Clock:
        now = 0.0

        def __call__(self):
            return self.now

        def sleep(self, seconds):
            self.now += seconds

    return Clock()


@pytest.fixture
def tried(monkeypatch, clock):
    def run(manager, name=None, **request):
        def client(endpoint, within_s, **_):
            transport = httpx.MockTransport(manager)
            return httpx.Client(base_url=endpoint.url, transport=transport)

        monkeypatch.setattr(web, "client", client)
        return try_alert(AlertRequest(**request), name, default=URL, clock=clock, sleep=clock.sleep)

    return run


def test_it_goes_the_way_of_a_real_one(tried):
    manager = Manager()
    manager.unseen, manager.after = 1, 3
    answer = tried(manager)
    (sent,) = manager.sent
    assert sent["labels"]["alertname"] == "DeployctlTest"
    assert sent["labels"]["severity"] == "critical"
    assert "nothing is wrong" in sent["annotations"]["summary"]
    assert sent["endsAt"] > sent["startsAt"]
    assert [h.receiver for h in answer.receivers] == ["on-call", "hook", "mail"]
    assert in_words(answer.receivers) == "on-call (pagerduty), hook (webhook), mail (email)"
    assert answer.outcome == "told"
    assert answer.seconds == pytest.approx(1.5)
    answer.enforce()


def test_an_alert_of_ours_has_its_severity_and_its_runbook(tried):
    manager = Manager()
    answer = tried(manager, "VllmKvCacheFull", service="chat")
    (sent,) = manager.sent
    assert sent["labels"].items() >= {
        "alertname": "VllmKvCacheFull", "severity": "warning", "service": "chat",
    }.items()  # fmt: skip
    assert sent["annotations"]["runbook_url"].endswith("/VllmKvCacheFull.md")
    assert [h.receiver for h in answer.receivers] == ["team", "hook", "mail"]


def test_one_receiver_alone(tried):
    manager = Manager()
    answer = tried(manager, receiver="team")
    assert [h.receiver for h in answer.receivers] == ["team"]
    assert manager.sent[0]["labels"]["deployctl_receiver"] == "team"


def test_the_names_of_somebody_elses_receivers_are_fit_to_show(tried):
    theirs = Manager()
    name = "\x1b[31mthe  team"
    hook = {"name": name, "webhook_configs": [{"url": "http://h"}]}
    theirs.config = {"route": {"receiver": name}, "receivers": [hook]}
    theirs.receivers = [SimpleNamespace(name=name, severity=None)]
    with pytest.raises(InputError) as refused:
        tried(theirs, receiver="nobody-of-this-name")
    assert refused.value.hint == "it has the team"
    assert in_words(tried(theirs).receivers) == "the team (webhook)"


def test_a_receiver_that_is_not_there_and_a_configuration_of_somebody_else(tried):
    with pytest.raises(InputError, match="has no receiver 'teem'") as refused:
        tried(Manager(), receiver="teem")
    assert refused.value.hint == "did you mean team?"
    theirs = Manager()
    theirs.config = {"route": {"receiver": "team"}, "receivers": [{"name": "team"}]}
    with pytest.raises(InputError, match="no route for a test") as refused:
        tried(theirs, receiver="team")
    assert "deployctl_receiver" in refused.value.hint
    assert not theirs.sent


@pytest.mark.parametrize(
    ("manager", "said"),
    [
        (Manager(()), "no receiver wants such an alert"),
        (Manager(tells="email"), "could not tell on-call, hook, mail"),
        (Manager(tells="never"), "within 45.0 s Alertmanager told nobody"),
    ],
)
def test_where_nobody_is_told_it_fails(tried, manager, said):
    answer = tried(manager)
    with pytest.raises(TargetError, match=said) as failed:
        answer.enforce()
    assert failed.value.exit_code == 4
    assert failed.value.hint


def test_a_silence_is_said(tried):
    manager = Manager()
    manager.status = {"state": "suppressed", "silencedBy": ["x"], "inhibitedBy": []}
    answer = tried(manager)
    assert (answer.muted, answer.outcome) == ("silenced", "not asked")
    with pytest.raises(TargetError, match="the alert is silenced"):
        answer.enforce()


def test_nobody_waits_where_that_is_asked(tried, clock):
    answer = tried(Manager(tells="never"), wait=0)
    assert answer.outcome == "not asked"
    answer.enforce()
    assert clock.now == 0


def test_who_does_not_answer_or_is_none(tried):
    def dead(request):
        raise httpx.ConnectError("refused")

    for other, said in (
        (dead, "does not answer: refused"),
        (lambda request: httpx.Response(404), "no Alertmanager"),
        (lambda request: httpx.Response(200, text="<html>"), "no Alertmanager"),
        (lambda request: httpx.Response(200, json={"status": "ok"}), "no Alertmanager"),
        (lambda request: httpx.Response(200, json=[1]), "no Alertmanager"),
        (lambda request: httpx.Response(503, text="busy"), "HTTP 503: busy"),
    ):
        with pytest.raises(TargetError, match=said) as failed:
            tried(other)
        assert URL in failed.value.where
        assert failed.value.hint


def test_one_that_swallows_it_is_said(tried):
    manager = Manager()
    manager.unseen = 100
    with pytest.raises(TargetError, match="does not show it"):
        tried(manager)


def test_what_is_wrong_with_the_command(tried):
    with pytest.raises(InputError, match="no alert 'VllmEngineHang'") as refused:
        tried(Manager(), "VllmEngineHang")
    assert refused.value.hint == "did you mean VllmEngineHung?"
    with pytest.raises(InputError, match="is not an address") as refused:
        tried(Manager(), alertmanager="monitoring:9093")
    assert refused.value.where == "--alertmanager"


def test_every_alert_has_its_page():
    from deployctl import assets

    pages = {page.stem for page in (assets.path("deploy").parent / "docs/runbooks").glob("*.md")}
    assert set(alerts()) == pages - {"README"}
    assert alerts()["HostDiskFilling"] == "critical"
