"""Two replicas of a real vLLM on the CPU, processes and containers: an update, one that is killed,
one that hangs.

`./test night -k replicas_engine`: twenty minutes on two cores.
"""

import contextlib
import http.client
import json
import os
import signal
import time

import psutil
import pytest
from tests.e2e import gateway_parts
from tests.e2e.docker_parts import Cli, inspect, sweep
from tests.e2e.engine_cache import knowing
from tests.e2e.gateway_parts import Users, answer, needs_caddy
from tests.e2e.measured import KEY, START_S, Measured, MeasuredInDocker

import ports
import process_shell
from process_shell import until

pytestmark = [pytest.mark.vllm, pytest.mark.night]
STALL_S = 30
SEEN_S = 6.0  # for the gateway to see that one does not say that it is well, on a busy machine


class Several:
    """Two engines behind a gateway of their own; `pids`: what started each of them, in order."""

    name = "tiny"
    key = None

    def words(self, routing):
        self.routing, self.gateway_port = routing, ports.free()
        words = ["--replicas", 2, "--routing", routing, "--gateway-port", self.gateway_port]
        words += ["--watchdog", f"stall={STALL_S}", "--watchdog", "restarts=9"]
        return [*words, "--kv-cache-gib", 0.25, "--hold", 600, "--enforce-eager"]

    def told(self):
        return self.json("status", self.name)["services"][0]

    def users(self):
        url = f"http://127.0.0.1:{self.gateway_port}"
        return Users(url, model=self.told()["model"], key=self.key)

    def cores(self):
        return [next(iter(cores_below(pid)), None) for pid in self.pids()]

    def busier(self, users):
        """The replica that answers most."""
        before, seen = self.answered(), len(users.asked)
        until(lambda: len(users.asked) > seen + 16)
        more = [now - then for then, now in zip(before, self.answered(), strict=True)]
        return more.index(max(more))

    def answered(self):
        return [each["requests"] for each in self.json("metrics", self.name)["replicas"]]


class Processes(Several, Measured):
    key = KEY

    def __init__(self, folder, checkpoint, cache, routing):
        port, words = ports.free(2), self.words(routing)
        self.again = [
            "up", "--model", checkpoint, "--gpu", "cpu", "--name", self.name, "--port", port,
            "--api-key-file", folder / "key", *words,
        ]  # fmt: skip
        super().__init__(folder, checkpoint, port, cache, *words)

    def pids(self):
        found = {}
        for record in sorted(self.folder.glob(f"state/process/{self.name}/runs/*/engine.json")):
            found[record.parent.suffix] = json.loads(record.read_text())["pid"]  # the newest last
        return [found[number] for number in sorted(found)]


class Containers(Several, MeasuredInDocker):
    name = "test-replicas-engine"

    def __init__(self, cli, checkpoint, image, routing):
        super().__init__(
            cli,
            "up", "--model", checkpoint, "--gpu", "cpu", "--target", "docker", "--name", self.name,
            "--image", image, *self.words(routing),
        )  # fmt: skip

    def pids(self):
        engines = (f"deployctl-{self.name}-engine-{number}" for number in ("1", "1-1"))
        return [inspect(each)["State"]["Pid"] for each in engines]


@pytest.fixture(
    params=[
        "process-least-busy", "process-prefix",
        pytest.param("docker-least-busy", marks=pytest.mark.docker),
    ]
)  # fmt: skip
def service(request, tmp_path, tiny_checkpoint, monkeypatch):
    needs_caddy()
    for module in (process_shell, gateway_parts):
        monkeypatch.setattr(module, "PATIENCE_S", START_S)
    target, _, routing = request.param.partition("-")
    if target == "docker":
        request.getfixturevalue("gateway_image")
        image = request.getfixturevalue("cpu_image")
        sweep(Containers.name)
        started = Containers(Cli(tmp_path / "state"), tiny_checkpoint, image, routing)
    else:
        models = request.getfixturevalue("checkpoint_cache")
        cache = knowing(tmp_path / "cache", models, Several.name)
        started = Processes(tmp_path, tiny_checkpoint, cache, routing)
    yield started
    started.down()


def test_an_update_fails_nothing_and_a_replica_that_ends_or_hangs_what_is_inside(service):
    print()
    before = service.cores()
    assert None not in before
    with service.users() as users:
        until(lambda: len(users.asked) > 8)
        began = time.monotonic()
        told = service.json(*service.again, "--max-num-batched-tokens", 1024)
        took = time.monotonic() - began
        assert told["services"][0]["gateway"]["held"] is None
        seen = len(users.asked)
        until(lambda: len(users.asked) > seen + 8)
    assert not set(before) & set(service.cores())
    say(service, f"update of {took:.0f} s", users)
    assert users.failed == []

    with service.users() as users:
        at, back_s = end(service, signal.SIGKILL, users)
    say(service, f"killed, back after {back_s:.0f} s", users)
    assert gone_on(users, at + SEEN_S, at + back_s) > 8
    assert [each for each in users.failed if each.began > at + SEEN_S] == []

    with service.users() as users:
        at, back_s = end(service, signal.SIGSTOP, users)
    say(service, f"hung, back after {back_s:.0f} s", users)
    assert back_s > STALL_S
    if service.routing == "least-busy":
        assert gone_on(users, at + SEEN_S, at + STALL_S) > 8
    late = [each for each in users.failed if each.began > at + STALL_S + SEEN_S]
    assert late == []


def cores_below(server):
    """Pids of the cores below what started an engine."""
    try:
        children = psutil.Process(server).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    with contextlib.suppress(psutil.NoSuchProcess):
        return [each.pid for each in children if each.name().startswith("VLLM::EngineCor")]
    return []


def end(service, how, users):
    """Does that to the core of a replica: when, and the seconds until it serves again."""
    one = service.busier(users)
    core, url = service.cores()[one], service.told()["replicas"][one]["url"]
    at = time.monotonic()
    os.kill(core, how)
    until(lambda: service.cores()[one] not in (None, core) and serves(url))
    back_s = time.monotonic() - at
    seen = len(users.asked)
    until(lambda: len(users.asked) > seen + 8)
    assert not psutil.pid_exists(core)
    return at, back_s


def serves(url):
    with contextlib.suppress(OSError, http.client.HTTPException):
        return answer(url, "/health")[0] == 200
    return False


def gone_on(users, since, until_s):
    return len([e for e in users.asked if not e.problem and since < e.began < until_s])


def say(service, what, users):
    print(
        f"{service.routing}, {what}: {len(users.asked)} requests, {len(users.failed)} failed, "
        f"the longest {users.longest_s:.1f} s",
        *(f"  {each.problem[:160]}" for each in users.failed[:8]),
        sep="\n",
    )
