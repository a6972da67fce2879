"""The gateway before a real vLLM, a process and a container: no update fails a request, and no
crash one that comes later.

`./test night -k gateway_engine` runs all of it, an hour; `-k "gateway_engine and few"` some.
"""

import json
import os
import signal
import time

import psutil
import pytest
from tests.e2e import gateway_parts
from tests.e2e.docker_parts import GATEWAY, Cli, docker, inspect, sweep
from tests.e2e.engine_cache import knowing
from tests.e2e.gateway_parts import Users, needs_caddy
from tests.e2e.measured import KEY, START_S, Measured, MeasuredInDocker

import ports
import process_shell
from deployctl.render.gateway import ACCESS_LOG
from deployctl.targets.process import procfs
from deployctl.targets.waits import waits_of
from process_shell import until

pytestmark = [pytest.mark.vllm, pytest.mark.night]
# A worker that pins itself to the core that another's spins on has none of it for minutes, where
# the two are in groups of their own (Linux 6.18).
UNBOUND = "VLLM_CPU_OMP_THREADS_BIND=nobind"
BAD = ("--env", "VLLM_CPU_KVCACHE_SPACE=1000000")  # more than any machine has: the engine refuses


class Behind:
    """A service behind a gateway of its own; `again` brings it up, `root` is its engine's pid."""

    name = "tiny"
    key = None

    def update(self, number, beside="no"):
        """Seconds for which requests were held; None where they were not."""
        told = self.json(*self.again, "--max-num-seqs", 8 + number, "--beside", beside)
        held = told["services"][0]["gateway"]["held"]
        assert held is None or held["turned_away"] == 0
        return held and held["seconds"]

    def core(self):
        """The process of the engine's core, if it has one: not by status, which fails meanwhile."""
        try:
            children = psutil.Process(self.root()).children(recursive=True)
            cores = [each.pid for each in children if each.name().startswith("VLLM::EngineCor")]
        except (psutil.NoSuchProcess, ValueError):
            return None
        return cores[0] if cores else None


class Process(Behind, Measured):
    key = KEY

    def __init__(self, folder, checkpoint, cache):
        self.gateway_port, port = ports.free(), ports.free()
        words = ["--gateway", "--gateway-port", self.gateway_port, "--hold", "600"]
        self.again = [
            "up", "--model", checkpoint, "--gpu", "cpu", "--name", self.name, "--port", port,
            "--api-key-file", folder / "key", "--enforce-eager", *words,
        ]  # fmt: skip
        super().__init__(folder, checkpoint, port, cache, *words)

    def root(self):
        (record,) = self.folder.glob(f"state/process/{self.name}/runs/*/engine.json")
        return json.loads(record.read_text())["pid"]

    def proxy(self):
        return json.loads((self.folder / "state/gateway/engine.json").read_text())["pid"]

    def access_log(self):
        return (self.folder / "state" / "gateway" / ACCESS_LOG).read_text()


class Container(Behind, MeasuredInDocker):
    name = "test-gateway-engine"

    def __init__(self, cli, checkpoint, image):
        self.gateway_port = ports.free()
        super().__init__(
            cli,
            "up", "--model", checkpoint, "--gpu", "cpu", "--target", "docker", "--name", self.name,
            "--image", image, "--enforce-eager", "--gateway", "--gateway-port", self.gateway_port,
            "--hold", "900", "--startup-timeout", "900", "--env", UNBOUND,
        )  # fmt: skip

    def root(self):
        return inspect(f"deployctl-{self.name}-engine-1")["State"]["Pid"]

    def proxy(self):
        return inspect(f"{GATEWAY}-caddy-1")["State"]["Pid"]

    def access_log(self):
        return docker("exec", f"{GATEWAY}-caddy-1", "cat", ACCESS_LOG)


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def behind(request, tmp_path, tiny_checkpoint, monkeypatch):
    needs_caddy()
    for module in (process_shell, gateway_parts):
        monkeypatch.setattr(module, "PATIENCE_S", START_S)
    if request.param == "docker":
        request.getfixturevalue("gateway_image")
        image = request.getfixturevalue("cpu_image")
        sweep(Container.name)
        started = Container(Cli(tmp_path / "state"), tiny_checkpoint, image)
    else:
        models = request.getfixturevalue("checkpoint_cache")
        cache = knowing(tmp_path / "cache", models, Behind.name)
        started = Process(tmp_path, tiny_checkpoint, cache)
    yield started
    started.down()


def users_of(service):
    model = service.json("status", service.name)["services"][0]["model"]
    return Users(f"http://127.0.0.1:{service.gateway_port}", model=model, key=service.key)


@pytest.mark.parametrize(
    ("updates", "rollbacks", "bad"), [(2, 1, 1), (20, 5, 2)], ids=["few", "many"]
)
def test_no_update_fails_a_request(behind, updates, rollbacks, bad, record_property):
    with users_of(behind) as users:
        until(lambda: len(users.asked) > 8)
        held = [behind.update(number) for number in range(updates)]
        for _ in range(bad):
            words = [*behind.again, *BAD, "--beside", "no"]
            assert "serves again" in behind(*words, code=4).stderr
        for _ in range(rollbacks):
            behind("rollback", behind.name, "--beside", "no")
        seen = len(users.asked)
        until(lambda: len(users.asked) > seen + 8)
    assert users.failed == []
    for name, value in (
        ("requests", len(users.asked)),
        ("held_s", [round(each, 1) for each in held]),
        ("longest_wait_s", round(users.longest_s, 1)),
    ):
        record_property(name, value)
        print(name, value)


def test_beside_the_one_that_serves_no_request_waits(behind, record_property):
    """On few cores, where the two take them from each other."""
    with users_of(behind) as users:
        until(lambda: len(users.asked) > 8)
        assert [behind.update(number, "yes") for number in range(2)] == [None, None]
        bad = behind(*behind.again, *BAD, "--beside", "yes", code=4).stderr
        assert "served all the while" in bad
        seen = len(users.asked)
        until(lambda: len(users.asked) > seen + 8)
    assert users.failed == []
    waits = waits_of(behind.name, 0.0, behind.access_log())
    assert waits.requests >= len(users.asked)
    assert waits.longest_s < 5  # for a core, on a busy machine; an engine loads for half a minute
    for name, value in (
        ("requests", len(users.asked)), ("waited", waits), ("longest_s", round(users.longest_s, 1)),
    ):  # fmt: skip
        record_property(name, value)
        print(name, value)


@pytest.mark.parametrize("crashes", [1, 5], ids=["few", "many"])
def test_a_crash_fails_only_what_was_inside(behind, crashes, record_property):
    with users_of(behind) as users:
        for _ in range(crashes):
            seen = len(users.asked)
            until(lambda seen=seen: len(users.asked) > seen + 8)
            core = until(behind.core)
            os.kill(core, signal.SIGKILL)
            until(lambda core=core: not procfs.identify(core))
            died = time.monotonic()
            until(lambda core=core: behind.core() not in (None, core))
            until(
                lambda died=died: any(
                    each.began > died and not each.problem for each in list(users.asked)
                )
            )
            assert [e for e in users.failed if e.began > died] == []
        assert users.untold == []
        inside = len(users.failed)
        print(f"{inside} of {len(users.asked)} requests failed, inside of {crashes} crashes")
        record_property("inside_failed", inside)
        proxy = behind.proxy()
        failed, seconds = users.outage(lambda: os.kill(proxy, signal.SIGKILL))
    record_property("proxy_failed", failed)
    record_property("proxy_s", seconds)
    print(f"{failed} requests failed of the proxy that was killed, in {seconds} s")
