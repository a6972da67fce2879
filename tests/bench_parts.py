"""A bench whose engine and clock are all memory, and what surrounds it."""

import contextlib
import dataclasses

from deployctl.endpoint import Endpoint
from deployctl.errors import HubError
from deployctl.load import gate
from deployctl.load import slo as slos
from deployctl.load.locust import Ended
from deployctl.load.run import Measurement
from deployctl.load.summary import summarize
from deployctl.spec import ServiceSpec
from deployctl.targets.driver import EngineState
from deployctl.targets.readiness import Reply, Tools
from deployctl.targets.store import ServiceRef
from deployctl.tuning.enginebench import EngineBench, Environment
from deployctl.tuning.plans import Plans, candidate
from deployctl.tuning.trial import Configuration
from deployctl_loadtest.result import Setup
from deployctl_loadtest.sample import Sample, WorkerReport

REF = ServiceRef("process", "tiny-tune")
BASELINE = Configuration()
SETUP = Setup(None, "", "", "chat", 1, 0.0, 1.0, 64, 8, True, 0, 60.0)
SLO = slos.parse("ttft_p95=500ms")


class Driver:
    """Keeps logs by revision. `fate` decides what the next start comes to."""

    target = "process"
    replaces = False
    gateway = None

    def __init__(self):
        self.running = set()
        self.logs_of = {}
        self.started = []
        self.fate = None  # None, the last words of an engine, "silent", or an error
        self.refuses = None
        self.purged = []

    def changing(self, service, command, tell):
        return contextlib.nullcontext()

    def preflight(self, release, replacing):
        if self.refuses:
            raise self.refuses

    def fetch(self, release, tell):
        pass

    def start(self, release, tell, *, serves=None):
        self.started.append(release)
        self.logs_of[release.revision] = ["INFO Application startup complete."]
        if self.fate is not None and self.fate != "silent":
            self.logs_of[release.revision] = ["INFO Starting to load model", *self.fate]
            return
        self.running.add(release.revision)

    def stop(self, release, tell):
        self.running.discard(release.revision)

    def state(self, release):
        if release.revision in self.running:
            return EngineState("running")
        dead = release.revision in self.logs_of
        return EngineState("dead", "exit code 1") if dead else EngineState("absent")

    def logs(self, release, *, tail, follow):
        return iter(self.logs_of.get(release.revision, []))

    def endpoint(self, release):
        return Endpoint(f"http://127.0.0.1:{release.spec.port}", "tiny", None)

    def log_path(self, release):
        return None

    def purge(self, service, tell, *, heir=None):
        self.purged.append((service, heir))

    def kill(self, *words):
        """The engine that runs dies, with these last words."""
        for number in self.running:
            self.logs_of[number] += words
        self.running.clear()


class MadePlans(Plans):
    """The plans of a world."""

    def __init__(self, world):
        super().__init__(world.spec, None, None, 1.0)
        self._world = world

    def candidate(self, configuration, *, port):
        spec = candidate(self.base, configuration, port=port)
        return spec, self._world.plan(spec)


class World:
    """A bench with everything around it, and a clock that moves when it is asked to wait."""

    def __init__(self, tmp_path, settings, make_plan):
        self.now = 0.0
        self.driver = Driver()
        self.settings = settings
        self.folder = tmp_path / "study"
        self.reasons = ()
        self.loads = []
        self.during = lambda: None
        self.verdicts, self.outcome, self.preemptions = [], "ok", None
        self.interrupted = False
        self.answers = True
        self.brought, self.download_s, self.hub_is_down = [], 0.0, False
        self._make_plan = make_plan
        model = tmp_path / "tiny"
        model.mkdir()
        self.spec = ServiceSpec(model=str(model), gpu="cpu", target="process", max_num_seqs=64)

    def bench(self, **more):
        tools = Tools(self._ask, lambda endpoint: None, clock=lambda: self.now, sleep=self._sleep)
        variables = more.pop("variables", {})
        environment = Environment(self.driver, tools, variables, self._measure)
        if "render" in more:
            environment = environment._replace(render=more.pop("render"))
        given = {
            "setup": SETUP, "slo": SLO, "folder": self.folder, "settings": self.settings,
            "bring": self._bring, "port": 27100,
            "environment": environment,
            **more,
        }  # fmt: skip
        return EngineBench(MadePlans(self), **given)

    def plan(self, spec):
        verdict = "does_not_fit" if self.reasons else "fits"
        return self._make_plan(spec, verdict=verdict, reasons=self.reasons)

    def _bring(self, driver, release):
        self.brought.append(release.revision)
        self.now += self.download_s
        if self.hub_is_down:
            raise HubError("the Hub answered HTTP 503")

    def _ask(self, endpoint, timeout):
        self.now += 1.0
        alive = self.driver.running and self.driver.fate != "silent" and self.answers
        return Reply(bool(alive), "" if alive else "no answer")

    def _sleep(self, seconds):
        self.now += seconds

    def _measure(self, setup, endpoint, folder, *, slo):
        self.loads.append((setup, endpoint, folder))
        folder.mkdir(parents=True)
        self.now += setup.cut_s + setup.duration_s
        self.during()
        samples = [
            Sample("w", float(i) / 20, self.outcome, ttft_s=0.1, e2e_s=0.2, duration_s=0.2)
            for i in range(220)
        ]
        report = WorkerReport("w", 0.0, 11.0, len(samples), [], [])
        result = summarize(
            setup, samples, [report], lost=0, started="", tools={}, ended=Ended(self.interrupted),
            server=None,
        )  # fmt: skip
        judged = gate.evaluate(slo, samples, result.window_s) if slo else None
        verdicts = [*result.verdicts, *self.verdicts]
        result = dataclasses.replace(result, slo=judged, verdicts=verdicts)
        return Measurement(result, samples, [], folder)
