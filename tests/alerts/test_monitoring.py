"""What is rendered for a Prometheus and an Alertmanager, read by their own tools."""

import subprocess

import pytest
from pydantic import TypeAdapter

import known
from alert_parts import promtool
from deployctl.render.monitoring import Watched, monitoring_folder
from deployctl.render.monitoring.alertmanager import routed
from deployctl.render.monitoring.stack import StackSettings, stack_files
from deployctl.spec.receivers import Receivers
from monitoring_parts import RECEIVERS

pytestmark = pytest.mark.promtool
TOLD = TypeAdapter(Receivers).validate_python(RECEIVERS)


def services(token):
    found = []
    for name, port in (("chat", 8000), ("code", 8001)):
        plan, spec, _ = known.planned("awq", "l4", name=name, port=port)
        found.append(Watched(plan, spec, f"127.0.0.1:{port}", token.format(name)))
    return found


def written(folder, files):
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def test_prometheus_takes_the_folder_as_its_page_says(tmp_path):
    files = monitoring_folder(services("../secrets/{}"), TOLD)
    folder = written(tmp_path / "deployctl", files)
    for name in ("chat", "code"):
        (folder / "secrets" / name).write_text("t")
    page = files["README.md"].replace("/etc/deployctl", str(folder))
    included = page.partition("# prometheus.yml\n")[2].partition("```")[0]
    (tmp_path / "prometheus.yml").write_text(included)
    done = promtool("check", "config", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("rules found") == 3  # of two services and the host


def test_prometheus_takes_its_own_projects_configuration(tmp_path):
    files = stack_files(services(str(tmp_path / "{}")), StackSettings(cards=True), "/state")
    for name in ("chat", "code"):
        (tmp_path / name).write_text("t")
    done = promtool("check", "config", written(tmp_path, files) / "prometheus/prometheus.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def amtool(*words):
    return subprocess.run(["amtool", *map(str, words)], capture_output=True, text=True, timeout=60)


@pytest.mark.prometheus
def test_alertmanager_takes_its_configuration_and_routes_as_we_say(tmp_path):
    folder = written(tmp_path, monitoring_folder(services("{}"), TOLD))
    file = folder / "alertmanager/alertmanager.yaml"
    done = amtool("check-config", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 receivers" in done.stdout
    test = {"deployctl_test": "1"}
    for labels in (
        {"severity": "critical"}, {"severity": "warning"}, {"severity": "info"},
        {"severity": "critical", **test}, {"severity": "warning", "deployctl_receiver": "on-call"},
        {"severity": "critical", "deployctl_receiver": "stranger"},
    ):  # fmt: skip
        said = [f"{key}={value}" for key, value in labels.items()]
        told = amtool("config", "routes", "test", f"--config.file={file}", *said)
        assert told.stdout.split() == [",".join(routed(TOLD, labels))], labels


@pytest.mark.prometheus
def test_without_receivers_too(tmp_path):
    folder = written(tmp_path, monitoring_folder(services("{}"), ()))
    done = amtool("check-config", folder / "alertmanager/alertmanager.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
