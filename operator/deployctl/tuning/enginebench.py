"""EngineBench: the Bench on a real engine, through the same rollout as `deployctl up`.

Engines under trial run under a service name and a port of their own. Every start of a bench
shares a compile cache: as a process CACHE_DIR/engine/NAME-tune, on Docker the service's own
volumes, which hold the model too, on Kubernetes a claim of the bench's. Whatever a killed bench
left running is found by that name.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

from deployctl import host
from deployctl.endpoint import Endpoint
from deployctl.errors import (
    EngineError,
    InterruptedByUserError,
    PlanRefusedError,
    StateError,
    TargetError,
)
from deployctl.events import Tell, silent
from deployctl.load.client import enough_workers
from deployctl.load.run import Measurement, at_load, run
from deployctl.load.slo import Slo
from deployctl.planning.plan import ServingPlan
from deployctl.render import Bundle, render_for
from deployctl.render.candidate import Render, with_caches_of
from deployctl.spec import ServiceSpec
from deployctl.spec.settings import Settings
from deployctl.targets import Driver, keys, open_driver, open_store
from deployctl.targets.guards import lock
from deployctl.targets.history import Release
from deployctl.targets.readiness import Tools
from deployctl.targets.rollout import REAL, Bring, Rollout
from deployctl.targets.store import ServiceRef
from deployctl.tuning import results
from deployctl.tuning.plans import Plans, bench_name, refusal
from deployctl.tuning.trial import Configuration, Failure, Invalid, Load, Observation, Started
from deployctl_loadtest.result import LoadResult, Setup
from deployctl_loadtest.sample import Sample

MEASUREMENTS = "measurements"  # below the study's folder: the raw results
LOG_LINES = 4000  # of an engine's log that are looked through for the cause of its end
PROOF_S = 30.0  # for an engine that failed requests to answer one, once the load has ended


class Environment(NamedTuple):
    """What engines are started, asked and loaded with; by default the real things."""

    driver: Driver | None = None  # None: the target's own
    tools: Tools = REAL
    variables: Mapping[str, str] = os.environ
    measure: Callable[..., Measurement] = run
    render: Render = render_for
    tell: Tell = silent  # what becomes of what was made for the search


class EngineBench:
    """Tries configurations of one service on its target. Use it in a `with`.

    Args:
        plans: the service, with its target settled, and what is planned of each configuration.
            The service itself is not touched if it runs.
        setup: the traffic. Address, model, load, window, seed and load processes are filled in;
            ramp and warm-up are its own.
        slo: what is acceptable.
        folder: the study's; raw results go to `measurements/` in it.
        settings: where deployctl keeps state and caches.
        bring: has a release's model where its engine looks for it. Called at the first start: the
            trials share one model, and none of their seconds go to a download.
        port: for the engines under trial; a free one by default.
        environment: what tests put in place of the target, the clock and the load.
    """

    def __init__(
        self,
        plans: Plans,
        *,
        setup: Setup,
        slo: Slo | None,
        folder: Path,
        settings: Settings,
        bring: Bring,
        port: int | None = None,
        environment: Environment = Environment(),
    ) -> None:
        self._plans = plans
        self._setup = setup
        self._slo = slo
        self._folder = folder
        self._port = port or host.free_port()
        self._environment = environment
        self._bring = bring
        self._brought = False
        self._begun = 0.0  # when the clock of the trial that runs began
        self._tools = environment.tools
        self._driver = environment.driver or open_driver(plans.target, settings)
        self._store = open_store(settings)
        self._ref = ServiceRef(plans.target, bench_name(plans.base.service))
        self._release: Release | None = None
        self._workers = 1  # load processes: what one measurement needed, the next one has
        self._held = ExitStack()

    @property
    def service(self) -> str:
        """The name that engines under trial run under."""
        return self._ref.service

    def __enter__(self) -> Self:
        """Keeps other benches off the service's name.

        Raises:
            LockedError: another one is at work.
        """
        folder = self._store.folder(self._ref) / "bench"
        self._held.enter_context(lock(folder, self.service, "deployctl tune"))
        return self

    def __exit__(self, *_: object) -> None:
        """Ends what runs, and forgets what let us in; on a cluster or a Docker engine, which are
        others' too, all but the checkpoint, which the service itself needs next."""
        with self._held:
            self.stop()
            if self._driver.target != "process":
                tried_for = self._plans.base.service
                self._driver.purge(self.service, self._environment.tell, heir=tried_for)
                self._store.forget(self._ref)
            else:
                keys.forget(self._store.folder(self._ref))

    def start(self, configuration: Configuration) -> Started | Failure:
        """Ends what runs, also what a killed bench left, and starts this configuration.

        Raises:
            InterruptedByUserError: Ctrl-C; nothing runs.
            TargetError: what no configuration can help: no disk, no Docker, no vLLM.
        """
        self.stop()
        spec, plan = self._plans.candidate(configuration, port=self._port)
        if (reason := refusal(plan)) is not None:
            return Failure("refused_by_plan", reason, 0.0)
        try:
            wanted, bundle = self._rendered(spec, plan)
        except PlanRefusedError as error:
            return Failure("refused_by_plan", error.message, 0.0)
        try:
            outcome = self._rollout().up(wanted, plan, bundle)
        except EngineError as error:
            spent = self._tools.clock() - self._begun
            return results.at_start(error, self._log(self._store.releases(self._ref)[-1]), spent)
        self._release = outcome.release
        return Started(round(outcome.seconds, 3))

    def measure(self, load: Load, seconds: float, seed: int) -> Observation | Failure | Invalid:
        """Loads what runs, for a window of `seconds`; its end, if it ends, is a Failure.

        Raises:
            InterruptedByUserError: Ctrl-C.
            StateError: the result cannot be written.
        """
        release = self._release
        assert release is not None, "start comes first"
        begun = self._tools.clock()
        endpoint = self._driver.endpoint(release)
        folder = self._next_folder(load)
        setup = self._at_load(endpoint, load, seconds, seed)
        result: LoadResult | None = None
        samples: Sequence[Sample] = ()
        trouble = ""
        try:
            done = self._environment.measure(setup, endpoint, folder, slo=self._slo)
            result, samples = done.result, done.samples
        except StateError:
            raise
        except TargetError as error:  # the client's, unless the engine is found to be gone
            trouble = error.message
        if result is not None and result.interrupted:
            raise InterruptedByUserError("interrupted while measuring")
        if result is not None and result.client.workers_needed is not None:
            self._workers = min(result.client.workers_needed, host.cores())
        lost = self._lost(release, result)
        spent = round(self._tools.clock() - begun, 3)
        if lost is not None:
            failure = results.under_load(lost, self._log(release), spent)
            self.stop()
            return failure
        if result is None:
            return Invalid(trouble, spent)
        where = folder.relative_to(self._folder).as_posix()
        seen = results.observe(result, samples, self._slo, load, spent_s=spent, folder=where)
        if isinstance(seen, Failure):
            self.stop()
        return seen

    def stop(self) -> None:
        """Ends what runs under the bench's name; its records, logs and caches stay."""
        self._release = None
        self._rollout().down(volumes=False)

    # The parts.

    def _rollout(self) -> Rollout:
        return Rollout(
            self._driver,
            self._store,
            self.service,
            silent,
            environment=self._environment.variables,
            bring=self._bring_once,
            tools=self._tools,
        )

    def _bring_once(self, driver: Driver, release: Release) -> None:
        """The clock of a trial runs from the end of this, when all that it needs is there."""
        if not self._brought:
            self._bring(driver, release)
            self._brought = True
        self._begun = self._tools.clock()

    def _rendered(self, spec: ServiceSpec, plan: ServingPlan) -> tuple[ServiceSpec, Bundle]:
        path = self._store.folder(self._ref) / keys.API_KEY
        wanted = keys.with_key_file(spec, path, self._environment.variables)
        bundle = self._environment.render(self._ref.target, plan, wanted)
        if self._ref.target == "docker":
            bundle = with_caches_of(self._plans.base.service, bundle)
        return wanted, bundle

    def _at_load(self, endpoint: Endpoint, load: Load, seconds: float, seed: int) -> Setup:
        """The traffic at one load, against one engine, from load processes that keep up."""
        setup = at_load(
            dataclasses.replace(
                self._setup,
                url=endpoint.url,
                model=endpoint.model or self._setup.model,
                duration_s=seconds,
                seed=seed,
                requests=None,
            ),
            load.kind,
            load.value,
        )
        guess = enough_workers(setup.users, setup.rate or 0.0, setup.output_tokens, host.cores())
        workers = max(guess, self._workers)
        # A process without a user would have nothing to do, and no end.
        return dataclasses.replace(setup, workers=min(workers, setup.users or workers))

    def _lost(self, release: Release, result: LoadResult | None) -> str | None:
        """How the engine was lost; None while it serves.

        Where requests failed it has to prove itself: a server whose engine is dead may live on
        for a while.
        """
        state = self._driver.state(release)
        if state.condition != "running":
            return f"the engine died under load ({state.detail or state.condition})"
        if result is not None and result.server is not None and result.server.restarted:
            return "the engine died under load and restarted"
        if result is None or result.requests.failed:
            answer = self._tools.ask(self._driver.endpoint(release), PROOF_S)
            if not answer.ok:
                return f"the engine no longer answers: {answer.detail}"
        return None

    def _log(self, release: Release) -> list[str]:
        return list(self._driver.logs(release, tail=LOG_LINES, follow=False))

    def _next_folder(self, load: Load) -> Path:
        """A folder that no earlier measurement has, also none of a bench that was killed."""
        parent = self._folder / MEASUREMENTS
        names = [path.name.partition("-")[0] for path in parent.glob("*-*")]
        last = max((int(name) for name in names if name.isdecimal()), default=0)
        return parent / f"{last + 1:04d}-{load.kind}-{load.value:g}"
