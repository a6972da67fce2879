"""The gateway's container: when it is told, when it is started anew, and what is said of it. Its
engine is a container or none, its files a folder."""

import socket
import subprocess
from types import SimpleNamespace

import pytest
from tests.unit.targets.gateways import wanting
from tests.unit.targets_docker.memory import MemoryCarriers

from deployctl.endpoint import Endpoint
from deployctl.errors import DockerError, PortTakenError, TargetError
from deployctl.render.gateway import HELD, configuration
from deployctl.render.gatewayproject import PORTS_LABEL, PROJECT
from deployctl.targets import proxies
from deployctl.targets.docker import enginelock
from deployctl.targets.docker import gateway as module
from deployctl.targets.docker.commands import Result
from deployctl.targets.docker.engine import PROJECT_LABEL
from deployctl.targets.docker.gateway import ContainedCaddy, DockerGateway
from deployctl.targets.docker.gatewayvolume import VolumeFiles
from deployctl.targets.docker.records import EngineRecords
from deployctl.targets.gatewayfiles import FolderFiles


class Host:
    """A Docker engine that has a gateway or none."""

    def __init__(self, folder, monkeypatch):
        self.address = SimpleNamespace(url="unix:///var/run/docker.sock", remote=False)
        self.container, self.starts, self.told = None, [], []
        self.answers, self.holder, self.says = True, None, (0, "")
        self.carriers, self.engines = MemoryCarriers(), {}
        self.refuses, self.taken = "", set()
        self.files, self._folder = FolderFiles(folder / "files"), folder / "project"
        monkeypatch.setattr(proxies, "healthy", lambda monitor: self.answers)
        self.proxy = ContainedCaddy(
            lambda: self, self._run, self.files, "caddy:1", self._folder,
            clock=iter(range(10_000)).__next__, sleep=lambda seconds: None,
        )  # fmt: skip

    def _run(self, words, environment):
        if "--publish" in words:
            port = int(words[words.index("--publish") + 1].rpartition(":")[2])
            said = f"Bind for 127.0.0.1:{port} failed: port is already allocated"
            return Result(125, "", said) if port in self.taken else Result(0, "", "")
        text = (self._folder / "compose.yaml").read_text()
        ports = text.partition(f"{PORTS_LABEL}: ")[2].partition("\n")[0].strip("\"'")
        self.starts.append(ports)
        if self.refuses:
            self.container = SimpleNamespace(labels={}, status="created", attrs={})
            return Result(1, "", self.refuses)
        labels = {PORTS_LABEL: ports}
        self.container = SimpleNamespace(labels=labels, status="running", attrs={})
        return Result(0, "", "")

    def containers(self, project, service=None):
        if project != PROJECT:
            return self.engines.get(project, [])
        return [self.container] if self.container else []

    def endpoint(self, port, *, exposed):
        return Endpoint(f"http://127.0.0.1:{port}", None, None)

    def publisher(self, port):
        return self.holder

    def asked(self, container, words):
        self.told.append(words)
        return self.says

    def logs(self, container, *, tail, follow):
        return iter([b'{"level":"error","error":"no such module"}\n'])

    def remove(self, project, grace_s):
        self.container = None
        if self.engines:
            raise DockerError("Docker refuses: the network has active endpoints")


@pytest.fixture
def host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


def test_what_it_publishes_already_it_is_told_and_for_another_port_it_is_started_anew(host):
    assert not host.proxy.runs()
    host.proxy.apply([wanting()], 20190)
    assert host.starts == ["127.0.0.1:20190,127.0.0.1:8080"]
    assert host.proxy.ready_for(wanting("other"))
    host.proxy.apply([wanting(), wanting("other")], 20190)
    assert (len(host.starts), len(host.told)) == (1, 1)
    host.files.write("next.json", "next")
    assert not host.proxy.ready_for(wanting(exposed=True))
    host.proxy.apply([wanting(), wanting("other", port=9090)], 20190)
    assert host.starts[1:] == ["127.0.0.1:20190,127.0.0.1:8080,127.0.0.1:9090"]
    assert host.files.read("caddy.json") == "next"
    host.proxy.apply([wanting()], 20190)  # what it publishes too much is closed there
    assert (len(host.starts), len(host.told)) == (2, 2)


def test_one_that_does_not_start_anew_has_what_it_had(host):
    host.files.write("caddy.json", "former")
    host.proxy.apply([wanting()], 20190)
    host.files.write("next.json", "next")
    host.answers = False
    with pytest.raises(TargetError, match="does not start: no such module"):
        host.proxy.apply([wanting(port=9090)], 20190)
    assert host.files.read("caddy.json") == "former"
    assert host.starts[-1] == host.starts[0]


def test_why_it_does_not_start_is_said_though_engines_keep_its_network(host):
    host.answers, host.engines = False, {"deployctl-tiny": ["a container"]}
    with pytest.raises(TargetError, match="does not start: no such module"):
        host.proxy.apply([wanting()], 20190)
    assert host.container is None


def test_it_ends_though_an_engine_that_nobody_knows_keeps_its_network(host, monkeypatch):
    host.proxy.apply([wanting()], 20190)
    host.engines = {"deployctl-tiny": ["a container"]}
    host.proxy.end()
    assert host.container is None
    host.proxy.apply([wanting()], 20190)
    there = host.container
    monkeypatch.setattr(host, "containers", lambda project, service=None: [there])
    with pytest.raises(DockerError):
        host.proxy.end()


def test_what_it_refuses_is_said_and_one_that_is_away_is_waited_for(host):
    host.proxy.apply([wanting()], 20190)
    host.says = (1, "Error: no such module\n")
    with pytest.raises(TargetError, match="takes no such configuration: no such module"):
        host.proxy.apply([wanting()], 20190)
    host.container.status = "restarting"
    with pytest.raises(TargetError, match="it does not run"):
        host.proxy.apply([wanting()], 20190)


def test_its_own_port_is_free_to_it_and_anothers_is_refused_by_the_right_flag(host):
    host.holder = SimpleNamespace(name="web", labels={PROJECT_LABEL: PROJECT})
    host.proxy.check_port(wanting())
    host.holder.labels = {}
    with pytest.raises(PortTakenError, match="by the container web") as caught:
        host.proxy.check_port(wanting())
    assert "--gateway-port" in caught.value.hint


@pytest.mark.parametrize(
    "said",
    [
        "Bind for 127.0.0.1:8080 failed: port is already allocated",
        "failed to bind host port 127.0.0.1:8080/tcp: address already in use",
        "failed to bind host port for 127.0.0.1:8080:172.18.0.2:8080/tcp: address already in use",
    ],
)
def test_a_port_that_only_docker_finds_taken_is_named_with_the_right_flag(host, said):
    host.refuses = f"Error response from daemon: driver failed on endpoint (0a1b2c3d4e): {said}\n"
    with pytest.raises(PortTakenError, match="port 8080 is taken") as caught:
        host.proxy.apply([wanting()], 20190)
    assert "--gateway-port" in caught.value.hint
    assert host.container is None  # a container that is not started is nobody's to start later


def test_its_monitor_has_a_port_that_is_free_where_the_engine_is(host):
    with socket.create_server(("127.0.0.1", 0)) as here:  # another machine's, for all it knows
        port = here.getsockname()[1]
        assert host.proxy.free_port(port, ()) == port
    assert host.proxy.free_port(None, ()) == 20190
    host.taken = {20190, 20300}
    assert host.proxy.free_port(None, {20191}) == 20192
    assert host.proxy.free_port(20300, ()) == 20191
    host.taken |= set(range(20190, 20210))
    with pytest.raises(PortTakenError, match="none of the ports 20190 to 20209"):
        host.proxy.free_port(None, ())


@pytest.fixture
def gateway(host, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "VolumeFiles", lambda *parts: host.files)
    settings = SimpleNamespace(state_dir=tmp_path, gateway_image="caddy:1")
    found = DockerGateway(lambda: host, host._run, settings)
    host.proxy.apply([wanting()], 20190)
    host._folder = tmp_path / "docker-gateway"
    host.files.write("monitor_port", "20190")
    for name in ("tiny", "by-hand", "known", "lost"):
        host.files.write(f"services/{name}.json", wanting(name).model_dump_json())
        host.files.write(f"upstreams/{name}", f"deployctl-{name}:8000")
    return found


def test_of_one_that_was_killed_while_it_held_it_is_told_and_nobody_waits_for_him(host, gateway):
    host.files.write("upstreams/tiny", HELD)
    host.files.write("held/tiny", "2026-11-24T07:00:00+00:00")
    with enginelock.held(host.carriers, "tiny", "deployctl up", print):
        assert gateway.held("tiny").left is False
    assert gateway.held("tiny").left is True


def test_services_that_the_engine_does_not_know_any_more_are_forgotten(host, gateway):
    EngineRecords(host.carriers).begin("known", "a-lineage")
    host.engines["deployctl-by-hand"] = ["a container"]
    assert gateway.leave("tiny") == ["by-hand", "known"]
    assert sorted(host.files.below("upstreams")) == ["by-hand", "known"]


def test_what_one_wrote_that_was_killed_before_it_was_started_anew_is_done_by_the_next(
    host, gateway
):
    wanted = wanting(port=9090, root=True)
    written = configuration([wanted], monitor_port=20190, contained=True)
    host.files.write("services/tiny.json", wanted.model_dump_json())
    host.files.write("caddy.json", written)
    gateway.admit(wanted, "deployctl-tiny:8000")
    assert host.starts[-1] == "127.0.0.1:20190,127.0.0.1:9090"
    assert (host.files.read("caddy.json"), host.files.read("next.json")) == (written, None)


def test_the_down_of_a_service_that_is_not_behind_it_makes_none(host, tmp_path):
    def never(words, environment):
        raise AssertionError(words)

    settings = SimpleNamespace(state_dir=tmp_path, gateway_image="caddy:1")
    gateway = DockerGateway(lambda: host, never, settings)
    assert gateway.leave("tiny") is None
    assert not gateway.end_unused("tiny")
    assert host.carriers.made == {}


class Volume:
    """An engine whose gateway runs, and has a folder of this machine for its volume."""

    def __init__(self, folder):
        self._folder, self.carriers = folder, self

    def containers(self, project, service):
        return [SimpleNamespace(status="running")]

    def asked(self, container, words):
        done = subprocess.run(words, cwd=self._folder, capture_output=True, text=True)
        return done.returncode, done.stderr

    def read(self, name, path):
        found = self._folder / path.removeprefix("/gateway/")
        if found.is_dir():
            return {each.name: each.read_bytes() for each in found.iterdir()}
        return {"": found.read_bytes()} if found.exists() else None

    def find(self, name):
        return name


def test_its_files_are_whole_whatever_is_in_them_and_as_large_as_they_are(tmp_path):
    files = VolumeFiles(lambda: Volume(tmp_path), None, "caddy:1", tmp_path / "copies")
    page = "ä $HOME \"quoted\" 'too' `no` %s \\n\n" * 10_000  # more than an argument may have
    for text in (page, "127.0.0.1:8000", ""):
        files.write("upstreams/tiny", text)
        assert files.read("upstreams/tiny") == text
        assert files.below("upstreams") == {"tiny": text}
    files.write("next.json", page)
    files.move("next.json", "caddy.json")
    files.move("next.json", "caddy.json")  # there is none
    assert (files.read("next.json"), files.read("caddy.json")) == (None, page)
    assert files.here("caddy.json").read_text() == page
    files.remove("caddy.json")
    files.remove("caddy.json")
    assert files.read("caddy.json") is None
    with pytest.raises(DockerError, match="cannot be written"):
        files.write("upstreams/tiny/below", "a file")
