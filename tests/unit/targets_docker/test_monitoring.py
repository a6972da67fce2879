"""The project of monitoring as it is written and looked at. Its engine is a list of containers."""

import socket
from types import SimpleNamespace

import pytest

from deployctl.errors import PortTakenError
from deployctl.render.monitoring.stack import PORT_LABEL
from deployctl.targets.docker.monitoring import MonitoringProject


@pytest.fixture
def running():
    """Containers that there are: a part, and the port that it has."""
    return {}


@pytest.fixture
def project(tmp_path, running):
    def containers(_, part):
        port = running.get(part)
        labels = {PORT_LABEL: str(port)}
        return [SimpleNamespace(labels=labels, status="running")] if port else []

    return MonitoringProject(tmp_path, SimpleNamespace(containers=containers), run=None)


def test_another_port_of_a_part_that_runs_is_looked_at_too(project, running):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        taken = other.getsockname()[1]
        running["grafana"] = 3000
        with pytest.raises(PortTakenError, match=f"port {taken}, which is for grafana"):
            project.check_port("grafana", taken)
        running["grafana"] = taken
        project.check_port("grafana", taken)


def test_what_was_written_is_new_until_it_was_read(project):
    files, secrets = {"prometheus/prometheus.yaml": "a"}, {"prometheus": {"chat": b"token"}}
    assert project.write(files, secrets)
    assert project.write(files, secrets)  # whoever wrote it first was killed
    project.were_read()
    assert not project.write(files, secrets)
    assert project.write(files, {"prometheus": {}})
    assert not (project.folder / "secrets/prometheus/chat").exists()


def test_a_secret_whose_writer_was_killed_is_none_and_goes(project):
    secrets = {"alertmanager": {"hook.url_file": b"http://hook"}}
    assert project.secrets("alertmanager") == {}
    project.write({}, secrets)
    half = project.folder / "secrets/alertmanager/.hook.url_file.77"
    half.write_bytes(b"htt")
    assert project.secrets("alertmanager") == secrets["alertmanager"]
    project.write({}, {"alertmanager": project.secrets("alertmanager")})
    assert not half.exists()
