"""Monitoring of a host's own on a real Docker engine: a real Prometheus, Alertmanager and
exporters, Debian's, in the Compose project as it is rendered. Grafana is a fake.
"""

import json
import os
import signal
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.e2e.docker_parts import docker, inspect, until
from tests.e2e.kubernetes.images import built

import ports

# Alone, for an engine has one gateway, which a service with another port has started anew.
pytestmark = [pytest.mark.docker, pytest.mark.alone]

PROJECT = "deployctl_monitoring"
PARTS = ("prometheus", "alertmanager", "grafana", "node-exporter", "blackbox-exporter")


class Pager(ThreadingHTTPServer):
    """A webhook that keeps what it is told. `broken`: it refuses."""

    def __init__(self):
        self.told, self.broken = [], False
        super().__init__(("127.0.0.1", 0), _Told)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/hook?token=verysecret"


class _Told(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.server.broken:
            self.server.told.append(json.loads(body))
        self.send_response(500 if self.server.broken else 200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def pager():
    with Pager() as server:
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def images(cpu_image):
    folder = Path(__file__).parent
    made_of = [folder / "fake_grafana.py"]
    return {
        part: built(
            f"deployctl/test-{part}", folder / "monitoring.Dockerfile", folder,
            made_of=made_of, target=part,
        )
        for part in PARTS
    }  # fmt: skip


@pytest.fixture
def monitoring(images):
    """The flags that say where each part listens and which image it is; swept up afterwards."""
    at = {part: ports.free() for part in PARTS}
    words = []
    for part in PARTS:
        words += ["--monitoring-port", f"{part}={at[part]}"]
        words += ["--monitoring-image", f"{part}={images[part]}"]
    yield words, at
    label = f"label=com.docker.compose.project={PROJECT}"
    if left := docker("ps", "--all", "--quiet", "--filter", label).split():
        docker("rm", "--force", "--volumes", *left, check=False)
    if left := docker("volume", "ls", "--quiet", "--filter", label).split():
        docker("volume", "rm", *left, check=False)


def asked(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return json.load(answer)


def targets(port):
    """Whether Prometheus could scrape each job that it has."""
    active = asked(port, "/api/v1/targets")["data"]["activeTargets"]
    return {target["labels"]["job"]: target["health"] for target in active}


def test_a_service_is_watched_and_an_alert_reaches_somebody(
    gateway_image, cli, tiny_checkpoint, fake_engine_image, service, port, monitoring, pager,
    tmp_path,
):  # fmt: skip
    words, at = monitoring
    up = ["up", "--model", tiny_checkpoint, "--gpu", "cpu", "--target", "docker"]
    up += ["--image", fake_engine_image, "--name", service, "--with-monitoring"]
    up += ["--domain", "llm.example.com", "--tls", "internal", "--gateway-port", port]

    # Without receivers it says so; nothing of it is reached from elsewhere.
    first = cli(*up, *words)
    assert "nobody will be told of critical or warning alerts" in first.stderr
    prometheus, manager = at["prometheus"], at["alertmanager"]
    job = f"deployctl-{service}"
    until(lambda: targets(prometheus).get(job) == "up", seconds=60, what="it is scraped")
    parts = ["prometheus", "alertmanager", "node-exporter"]
    parts += ["deployctl_certificates", "deployctl_gateway"]
    until(
        lambda: all(targets(prometheus).get(part) == "up" for part in parts),
        seconds=60, what="so are the parts",
    )  # fmt: skip
    for part in PARTS:
        container = inspect(f"{PROJECT}-{part}-1")
        assert container["HostConfig"]["CapDrop"] == ["ALL"]
        assert container["HostConfig"]["ReadonlyRootfs"]
        assert container["State"]["Running"]
        assert container["RestartCount"] == 0
        with pytest.raises(OSError):
            urllib.request.urlopen(f"http://{own_address()}:{at[part]}/", timeout=3)

    # Its gateway is scraped for itself: by ports and codes, and by no host that clients name.
    query = "caddy_http_requests_in_flight{job='deployctl_gateway'}"
    seen = asked(prometheus, f"/api/v1/query?query={query}")["data"]["result"]
    names = {"__name__", "instance", "job", "server", "handler"}
    assert {name for each in seen for name in each["metric"]} == names

    # Its gateway's certificate is seen, by the name that clients ask for.
    query = "probe_ssl_earliest_cert_expiry-time()"
    seen = asked(prometheus, f"/api/v1/query?query={query}")["data"]["result"]
    ((labels, (_, left)),) = [(each["metric"], each["value"]) for each in seen]
    assert labels["instance"] == f"llm.example.com:{port}"
    assert 0 < float(left) <= 12 * 3600  # seconds: that of Caddy's own authority

    # So are the disks that fill: of the state folder, and of Docker's images and volumes.
    query = "node_filesystem_avail_bytes{fstype!~'tmpfs|overlay'}"
    seen = asked(prometheus, f"/api/v1/query?query={query}")["data"]["result"]
    disks = {each["metric"]["mountpoint"] for each in seen}
    root = Path(docker("info", "--format", "{{.DockerRootDir}}"))
    for folder in (cli.state, root):
        assert mounted_at(folder) in disks, (folder, disks)

    # Every rule is evaluated, and its Alertmanager known.
    def judged():
        groups = asked(prometheus, "/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    until(lambda: {rule["health"] for rule in judged()} == {"ok"}, seconds=60, what="all rules")
    assert {rule["name"] for rule in judged()} >= {
        "VllmEngineHung",
        "HostDiskFilling",
        "GatewayDown",
    }
    known = asked(prometheus, "/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
    assert [each["url"] for each in known] == [f"http://127.0.0.1:{manager}/api/v2/alerts"]
    nobody = cli("alert", "test", code=4)
    assert "no receiver wants such an alert" in nobody.stderr

    # A receiver: the alert reaches it, its address is in no file that is rendered, and told so.
    (tmp_path / "url").write_text(pager.url)
    receivers = tmp_path / "receivers.yaml"
    receivers.write_text("receivers: [{name: pager, kind: webhook, url_file: url}]\n")
    again = cli.json(*up, "--receivers", receivers)
    assert again["changed"] is False
    tried = cli.json("alert", "test", "--receiver", "pager")
    assert tried["outcome"] == "told"
    assert tried["receivers"] == [{"receiver": "pager", "kinds": ["webhook"]}]
    (told,) = pager.told
    assert told["alerts"][0]["labels"]["deployctl_test"] == tried["labels"]["deployctl_test"]
    assert told["receiver"] == "pager"
    project = cli.state / "monitoring" / "project"
    assert not [f for f in project.rglob("*") if f.is_file() and "secrets" not in f.parts
                and "verysecret" in f.read_text()]  # fmt: skip
    assert "verysecret" not in json.dumps(inspect(f"{PROJECT}-alertmanager-1"))
    pager.broken = True
    refused = cli("alert", "test", "--receiver", "pager", code=4)
    assert "Alertmanager could not tell pager" in refused.stderr

    # It has read its files again since it was started, and Docker starts it again all the same.
    name = f"{PROJECT}-prometheus-1"
    os.kill(inspect(name)["State"]["Pid"], signal.SIGKILL)
    until(lambda: inspect(name)["RestartCount"] == 1, seconds=60, what="it is started again")

    # A service that is down is not missed; what watched it stays, until it is ended.
    cli("down", service)
    assert job not in targets(prometheus)
    assert "monitoring is down" in cli("down", "--monitoring", "--volumes").stderr
    label = f"label=com.docker.compose.project={PROJECT}"
    assert docker("ps", "--all", "--quiet", "--filter", label) == ""
    assert docker("volume", "ls", "--quiet", "--filter", label) == ""
    gone = cli("alert", "test", "--alertmanager", f"http://127.0.0.1:{manager}", code=4)
    assert "Alertmanager does not answer" in gone.stderr


def mounted_at(folder):
    """Where the disk is mounted that a folder is on."""
    return str(next(each for each in (folder, *folder.parents) if each.is_mount()))


def own_address():
    """An address of this machine that is not its loopback."""
    return docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
