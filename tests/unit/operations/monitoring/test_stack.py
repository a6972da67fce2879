"""Monitoring of a host's own: what is asked for, what is kept, and what a failure comes to. The
project on Docker is a fake here; tests/e2e/test_monitoring.py has a real one.
"""

import pytest
from pydantic import TypeAdapter

from deployctl.errors import DockerError, EngineError, InputError, PlanRefusedError
from deployctl.operations.monitoring import stack
from deployctl.operations.monitoring.request import MonitoringRequest
from deployctl.operations.monitoring.watched import Scraped
from deployctl.render.monitoring.prometheus import Watched
from deployctl.spec.receivers import Receivers
from known import planned
from monitoring_parts import RECEIVERS


class Project:
    """What was written and started."""

    def __init__(self, folder):
        self.folder, self.files, self.hidden = folder, {}, {}
        self.ran, self.reloaded, self.refuses, self.unread = set(), [], None, False

    def check(self):
        if self.refuses:
            raise self.refuses

    def running(self):
        return self.ran

    def check_port(self, part, port):
        pass

    def fetch(self, image, tell, *, offline):
        pass

    def write(self, files, secrets):
        self.unread |= (files, secrets) != (self.files, self.hidden)
        self.files, self.hidden = files, secrets
        return self.unread

    def were_read(self):
        self.unread = False

    def up(self):
        self.ran = {"prometheus", "alertmanager", "grafana", "node-exporter"}

    def reload(self, parts):
        self.reloaded.append(list(parts))

    def secrets(self, part):
        return self.hidden.get(part, {})

    def down(self, *, volumes):
        there, self.ran = bool(self.ran), set()
        return there


@pytest.fixture
def project(monkeypatch, tmp_path):
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    made = Project(tmp_path)
    monkeypatch.setattr(stack, "monitoring_of", lambda state_dir: made)
    monkeypatch.setattr(stack, "wait_ready", lambda project, wanted, tell, replay_s: None)
    monkeypatch.setattr(stack, "reloaded", lambda project, wanted, asked, since: None)
    serve(monkeypatch, "chat")
    return made


def serve(monkeypatch, *names, **more):
    """Has services of these names serve on this host."""
    found = []
    for name in names:
        plan, spec, _ = planned("awq", "l4", name=name, **more)
        watched = Watched(plan, spec, "127.0.0.1:8000", f"/run/secrets/{name}")
        found.append(Scraped(watched, f"token-of-{name}"))
    monkeypatch.setattr(stack, "services_here", lambda settings, tell: found)


@pytest.fixture
def receivers(tmp_path):
    """Receivers whose secrets are there."""
    (tmp_path / "url").write_text("http://127.0.0.1/hook\n")
    hook = {**RECEIVERS[2], "url_file": tmp_path / "url"}
    return TypeAdapter(Receivers).validate_python([hook])


ASKED = MonitoringRequest(with_monitoring=True)


def test_what_is_said_once_is_kept(project, receivers):
    first = stack.bring_up(ASKED, None)
    assert first.unheard == ("critical", "warning")
    assert project.hidden["prometheus"] == {"chat": b"token-of-chat"}
    asked = MonitoringRequest(with_monitoring=True, monitoring_port=["alertmanager=19093"])
    second = stack.bring_up(asked, receivers)
    assert (second.unheard, second.receivers) == ((), ("hook",))
    assert project.hidden["alertmanager"] == {"hook.url_file": b"http://127.0.0.1/hook"}
    assert project.reloaded == [["prometheus", "alertmanager"]]
    third = stack.bring_up(ASKED, None)
    assert third == second
    assert stack.alertmanager_of() == "http://127.0.0.1:19093"
    assert project.hidden["alertmanager"] == {"hook.url_file": b"http://127.0.0.1/hook"}
    assert project.reloaded == [["prometheus", "alertmanager"]]
    nobody = stack.bring_up(ASKED, ())
    assert nobody.unheard == ("critical", "warning")
    assert project.hidden["alertmanager"] == {}


def test_grafana_has_one_password(project):
    first = stack.bring_up(ASKED, None)
    password = project.hidden["grafana"]["admin_password"]
    assert len(password) > 20
    with open(first.password_file, "rb") as file:  # noqa: PTH123
        assert file.read() == password
    stack.end()
    stack.bring_up(ASKED, None)
    assert project.hidden["grafana"]["admin_password"] == password
    stack.end(volumes=True)
    stack.bring_up(ASKED, None)
    assert project.hidden["grafana"]["admin_password"] != password


def test_what_a_part_would_look_at_that_does_not_run_is_noted_until_it_does(project, monkeypatch):
    serve(monkeypatch)
    stack.bring_up(ASKED, None)
    serve(monkeypatch, "chat", domain="llm.example.com", tls="internal")
    told = []
    stack.keep_in_step(told.append)
    assert [event.text.partition(":")[0] for event in told] == [
        "monitoring does not look at cards yet", "monitoring does not look at certificates yet"
    ]  # fmt: skip
    assert "/probe" not in project.files["prometheus/prometheus.yaml"]
    stack.bring_up(ASKED, None)
    assert "/probe" in project.files["prometheus/prometheus.yaml"]
    stack.keep_in_step(told.append)
    assert len(told) == 2


def test_services_come_and_go(project, monkeypatch):
    told = []
    stack.keep_in_step(told.append)
    assert project.files == {}  # nobody asked for it
    stack.bring_up(ASKED, None)
    serve(monkeypatch, "chat", "code")
    stack.keep_in_step(told.append)
    assert "prometheus/rules/code.yaml" in project.files
    serve(monkeypatch)
    stack.keep_in_step(told.append)
    assert "prometheus/rules/chat.yaml" not in project.files
    assert project.hidden["prometheus"] == {}
    assert [event.text for event in told] == [
        "monitoring stays up: deployctl down --monitoring ends it"
    ]
    assert stack.end()
    assert not stack.end()


def test_a_service_that_came_while_images_were_pulled_is_watched(project, monkeypatch):
    project.fetch = lambda image, tell, *, offline: serve(monkeypatch, "chat", "code")
    assert stack.bring_up(ASKED, None).services == ("chat", "code")


def test_what_was_ended_by_hand_is_not_started_by_a_service(project, monkeypatch):
    stack.bring_up(ASKED, None)
    project.ran = set()
    serve(monkeypatch, "chat", "code")
    told = []
    stack.keep_in_step(told.append)
    assert project.ran == set()
    assert "does not run" in told[0].text
    stack.bring_up(ASKED, None)
    assert "prometheus/rules/code.yaml" in project.files


def test_what_was_not_read_is_read_the_next_time(project, receivers, monkeypatch):
    stack.bring_up(ASKED, None)

    def refuses(project, wanted, asked, since):
        raise EngineError("alertmanager did not take its new configuration")

    monkeypatch.setattr(stack, "reloaded", refuses)
    for _ in range(2):  # the files are the same the second time
        with pytest.raises(EngineError):
            stack.bring_up(ASKED, receivers)
    monkeypatch.setattr(stack, "reloaded", lambda project, wanted, asked, since: None)
    stack.bring_up(ASKED, receivers)
    stack.bring_up(ASKED, receivers)
    assert project.reloaded == [["prometheus", "alertmanager"]] * 3


def test_a_service_is_up_whatever_becomes_of_its_monitoring(project):
    stack.bring_up(ASKED, None)
    project.refuses = DockerError("Docker is not running", where="/var/run/docker.sock")
    told = []
    stack.keep_in_step(told.append)
    (event,) = told
    assert event.kind == "warning"
    assert "Docker is not running (/var/run/docker.sock)" in event.text
    with pytest.raises(DockerError):
        stack.bring_up(ASKED, None)


def test_the_folder_of_figures_is_the_setting_and_is_kept(project, monkeypatch):
    monkeypatch.setenv("DEPLOYCTL_TEXTFILE_DIR", "/var/lib/figures")
    stack.bring_up(ASKED, None)
    assert "directory=/host/var/lib/figures" in project.files["compose.yaml"]
    monkeypatch.delenv("DEPLOYCTL_TEXTFILE_DIR")
    stack.bring_up(ASKED, None)
    assert "directory=/host/var/lib/figures" in project.files["compose.yaml"]


def test_two_parts_of_one_port_are_refused_before_anything_is_started(project):
    asked = MonitoringRequest(with_monitoring=True, monitoring_port=["grafana=9090"])
    with pytest.raises(InputError, match="prometheus and grafana cannot both have port 9090"):
        stack.bring_up(asked, None)
    assert project.files == {}


def test_a_secret_that_is_not_there_is_found_before_anything_is_started(project, receivers):
    lost = [each.model_copy(update={"url_file": project.folder / "gone"}) for each in receivers]
    with pytest.raises(InputError) as refused:
        stack.bring_up(ASKED, tuple(lost))
    assert "receivers/hook/url_file" in refused.value.where
    assert project.files == {}


@pytest.mark.parametrize(
    ("given", "said", "where"),
    [
        ({"monitoring_port": ["grafana"]}, "is not NAME=", "--monitoring-port"),
        ({"monitoring_port": ["grafana=x"]}, "is no port", "--monitoring-port"),
        ({"monitoring_port": ["grafana=1023"]}, "cannot listen on port 1023", "grafana=1023"),
        ({"monitoring_port": ["graphana=1"]}, "no part 'graphana'", "--monitoring-port"),
        ({"monitoring_image": ["grafana=-x"]}, "is not NAME=", "--monitoring-image"),
        (
            {"with_monitoring": False, "monitoring_port": ["grafana=3001"]},
            "goes with",
            "--monitoring",
        ),
    ],
)
def test_what_is_wrong_is_said(given, said, where):
    with pytest.raises(InputError, match=said) as refused:
        MonitoringRequest(**{"with_monitoring": True, **given}).check()
    assert where in refused.value.where
    assert refused.value.hint


def test_receivers_whom_nothing_tells_are_refused_but_those_of_the_variable(monkeypatch, tmp_path):
    file = tmp_path / "receivers.yaml"
    monkeypatch.delenv("DEPLOYCTL_RECEIVERS", raising=False)
    with pytest.raises(InputError, match="--receivers goes with --with-monitoring"):
        MonitoringRequest().check(file)
    ASKED.check(file)
    monkeypatch.setenv("DEPLOYCTL_RECEIVERS", str(file))
    MonitoringRequest().check(file)


def test_an_engine_that_cannot_be_monitored_is_refused_before_a_service_starts(project):
    stack.refuse_elsewhere("docker")
    project.refuses = DockerError("the Docker engine is on another host")
    with pytest.raises(DockerError):
        stack.refuse_elsewhere("docker")


def test_one_of_a_fleet_that_cannot_be_watched_is_refused_before_another_starts(project):
    stack.refuse_early((), ["docker", None])
    with pytest.raises(PlanRefusedError, match="--with-monitoring is of target docker"):
        stack.refuse_early((), ["docker", "process"])


def test_other_targets_are_refused_with_what_to_do_instead():
    with pytest.raises(PlanRefusedError) as refused:
        stack.refuse_elsewhere("process")
    assert "render --target monitoring" in refused.value.hint
    with pytest.raises(PlanRefusedError) as refused:
        stack.refuse_elsewhere("kubernetes")
    assert "chart" in refused.value.hint
