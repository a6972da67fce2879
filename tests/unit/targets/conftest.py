"""A world of memory for the rollout: a driver, a clock that moves by being asked, a store."""

import contextlib
from datetime import UTC, datetime

import pytest
from tests.unit.targets.gateways import Machine

from deployctl.endpoint import Endpoint
from deployctl.targets.driver import EngineState
from deployctl.targets.readiness import Reply, Takeover, Tools
from deployctl.targets.rollout import Rollout
from deployctl.targets.store import ServiceRef, Store

REF = ServiceRef("process", "tiny")


class MemoryDriver:
    """Knows what runs. `fates` says what becomes of a revision that is started."""

    target = "process"
    replaces = False
    gateway = None

    def __init__(self):
        self.running = set()
        self.dead = {}
        self.fates = {}  # revision -> dies, silent, hangs, refuses, or an exception to raise
        self.served = {}  # by the revision that came up, the one that served beside it
        self.did = []
        self.most_at_once = 0

    def changing(self, service, command, tell):
        return contextlib.nullcontext()

    def take_over(self, service, command, tell):
        self.did.append(("take over", service))

    def preflight(self, release, replacing):
        self.did.append(("preflight", release.revision))
        fate = self.fates.get(("preflight", release.revision))
        if fate:
            raise fate

    def fetch(self, release, tell):
        self.did.append(("fetch", release.revision))

    def start(self, release, tell, *, serves=None):
        self.did.append(("start", release.revision))
        self.served[release.revision] = None if serves is None else serves.revision
        fate = self.fates.get(release.revision)
        if isinstance(fate, BaseException):
            raise fate
        if fate == "dies":
            self.dead[release.revision] = "exit code 1"
        else:
            self.running.add(release.revision)
        if self.replaces:
            self.running &= {release.revision}
        self.most_at_once = max(self.most_at_once, len(self.running))

    def stop(self, release, tell):
        self.did.append(("stop", release.revision))
        self.running.discard(release.revision)
        self.dead.pop(release.revision, None)

    def publish_keys(self, release):
        self.did.append(("publish", release.revision))

    def close_door(self, release):
        self.did.append(("close", release.revision))
        return not self.did.count(("close", release.revision)) > 1

    def state(self, release):
        if release.revision in self.dead:
            return EngineState("dead", self.dead[release.revision])
        return EngineState("running" if release.revision in self.running else "absent")

    def logs(self, release, *, tail, follow):
        if release.revision in self.dead:
            return iter(
                ["Starting to load model", "ValueError: No available memory for the cache blocks."]
            )
        if self.fates.get(release.revision) == "hangs":
            return iter(["ERROR [core.py:1510] EngineCore failed to start.", "CppCompileError: x"])
        return iter(["Starting to load model"])

    def endpoint(self, release):
        return Endpoint("http://127.0.0.1:1", str(release.revision), None)

    def purge(self, service, tell, *, heir=None):
        self.did.append(("purge", service))

    def log_path(self, release):
        return None


class World:
    """Everything a rollout touches, and how the tests look at it."""

    def __init__(self, root):
        self.driver = MemoryDriver()
        self.store = Store(root)
        self.environment = {}
        self.told = []
        self.now = 0.0
        self.clock = datetime(2026, 11, 24, 7, tzinfo=UTC)
        self.bring = lambda _, release: self.driver.did.append(("bring", release.revision))
        self.beside = None  # whether there is room for two engines
        self.asked = False  # to have the new one come up there
        self.under_way = lambda revision: None  # requests: a door before none of them

    def _ask(self, endpoint, timeout):
        fate = self.driver.fates.get(int(endpoint.model))
        if isinstance(fate, list) and fate:
            raise fate.pop()
        if fate == "refuses":
            return Reply(False, "HTTP 404: no such model", refused=True)
        return Reply(fate not in ("silent", "hangs"), "nothing listens there yet")

    def _sleep(self, seconds):
        self.now += seconds

    def _under_way(self, endpoint):
        return self.under_way(int(endpoint.model))

    def rollout(self):
        beside = self.beside and Takeover(self.asked, lambda *given: self.beside(*given))
        tools = Tools(
            self._ask, self._under_way,
            clock=lambda: self.now, sleep=self._sleep, beside=beside,
        )  # fmt: skip
        return Rollout(
            self.driver, self.store, "tiny", self.told.append,
            environment=self.environment, tools=tools, bring=lambda *given: self.bring(*given),
            now=lambda: self.clock,
        )  # fmt: skip

    def up(self, release):
        return self.rollout().up(release.spec, release.plan, release.bundle)

    def statuses(self):
        return {r.revision: r.status for r in self.store.releases(REF)}

    def notes(self):
        return [event.text for event in self.told]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "state")


@pytest.fixture
def machine(tmp_path):
    """One with a gateway."""
    return Machine(tmp_path / "gateway")
