"""`up --verify`: the load test, or the watch of /metrics, that decides if a release is kept."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deployctl import metrics
from deployctl.endpoint import Endpoint
from deployctl.errors import EngineError, InputError, SloMissedError, TargetError
from deployctl.events import Event, Tell, silent
from deployctl.load import slo as slos
from deployctl.load.slo import Slo
from deployctl.operations.announce.announcer import Announcer
from deployctl.operations.deploy import judgement as judge
from deployctl.operations.deploy.judgement import Judgement
from deployctl.operations.deploy.request import FOR, WARMUP, WATCH_FOR, VerificationRequest, When
from deployctl.operations.measure import reports, runs, setup
from deployctl.operations.measure.endpoint import choose, models
from deployctl.operations.measure.request import LoadRequest
from deployctl.operations.prepare import Tuned
from deployctl.spec import ServiceSpec
from deployctl.spec.settings import Settings
from deployctl.targets import Driver, readiness
from deployctl.targets.history import Release
from deployctl.units import duration, seconds_of

if TYPE_CHECKING:
    from deployctl.tuning.recommendation import ConfigurationResult

WITHIN = 0.8  # of the highest load that held while it was tuned
_USERS = 4.0  # where nothing says how many
SCRAPES = 30  # in the whole time
LEAST_S, MOST_S = 1.0, 15.0  # between two of them
SILENCES = 3  # scrapes in a row without an answer: it hangs, or is gone


class Verification(NamedTuple):
    """What will be done: a request with all that was left open settled."""

    slo: Slo
    load: dict[str, Any]  # users or rate; not used by a watch
    seconds: float
    workload: str | None
    watch: bool
    canary: When
    out: Path | None


def settle(request: VerificationRequest, tuned: Tuned | None, spec: ServiceSpec) -> Verification:
    """Fills in what a request leaves open, from the recommendation and the spec.

    Raises:
        InputError: there is no SLO, it makes no sense, or options do not go together.
    """
    measured = tuned.recommendation.measured if tuned else None
    text = request.slo or (measured.slo if measured else None)
    if text is None:
        raise InputError(
            "no SLO to verify against",
            where="--verify",
            hint="add for example --slo ttft_p95=500ms,error_rate=1%",
        )
    slo = slos.parse(text)
    if request.watch:
        _check_watch(request, slo)
    if request.rate is not None and request.users is not None:
        raise InputError(
            "both --verify-users and --rate are given", where="--rate", hint="give one of them"
        )
    length = request.duration or (WATCH_FOR if request.watch else FOR)
    return Verification(
        slo,
        _load(request, tuned, spec),
        seconds_of(length, "--verify-for", least=1),
        request.workload or (measured.workload if measured else None),
        request.watch,
        request.canary,
        request.out,
    )


def _check_watch(request: VerificationRequest, slo: Slo) -> None:
    judge.check_watchable(slo)
    if request.canary == "yes":
        raise InputError(
            "a canary has no traffic to watch",
            where="--beside yes",
            hint="leave out --watch-metrics, so that a load test asks it",
        )
    for flag, value in (("--rate", request.rate), ("--verify-users", request.users)):
        if value is not None:
            raise InputError("watching sends no load", where=flag)


def _load(request: VerificationRequest, tuned: Tuned | None, spec: ServiceSpec) -> dict[str, Any]:
    """Rate or users: as given, as the spec's, or by the recommendation, or 4 users."""
    if request.rate is not None:
        return {"rate": request.rate}
    if users := request.users or spec.users:
        return {"users": users}
    kind, value = _recommended(tuned)
    if kind == "rate":
        return {"rate": float(f"{value:.4g}")}
    return {"users": max(1, round(value))}


def _recommended(tuned: Tuned | None) -> tuple[str, float]:
    """The load that a recommended figure was had at; less where that is the highest that held.

    At its limit a service misses its SLO every other time. It is asked for what is well within,
    and for no less than the baseline carried.
    """
    if tuned is None:
        return "users", _USERS
    recommended = tuned.recommendation
    kind, most = _load_of(recommended.winner or recommended.baseline)
    if recommended.measured.objective == "latency" or recommended.measured.slo is None:
        return kind, most
    other, least = _load_of(recommended.baseline)
    within = most * WITHIN
    return kind, min(most, max(within, least)) if other == kind else within


def _load_of(figures: "ConfigurationResult | None") -> tuple[str, float]:
    kind, _, value = ((figures.load if figures else None) or "").partition("=")
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if kind in ("users", "rate") and 0 < number < math.inf:
        return kind, number
    return "users", _USERS


class Verifier:
    """Verifies a release that answers: loads it, or watches it, and judges what came of it."""

    def __init__(self, verification: Verification, driver: Driver, tell: Tell) -> None:
        self.began = False
        self.judgement: Judgement | None = None
        self.folder: Path | None = None  # of what was measured
        self._verification = verification
        self._driver = driver
        self._tell = tell

    def verify(self, release: Release, service: str) -> str:
        """Returns what to record of the release.

        Raises:
            SloMissedError: it does not hold its SLO, or was not shown to.
            EngineError: it died.
            KeyboardInterrupt: Ctrl-C, while the load test ended in order.
        """
        self.began = True
        endpoint = self._driver.endpoint(release)._replace(service=service)
        try:
            judgement = self._judge(release, endpoint)
        except EngineError:
            raise
        except TargetError as error:
            if self._driver.state(release).condition == "running":
                raise
            raise self._died(release) from error
        self.judgement = judgement
        if self._driver.state(release).condition != "running":
            raise self._died(release)
        if not judgement.passed:
            for reason in judgement.reasons[1:]:
                self._tell(Event("heading", f"also: {reason}"))
            report = self.folder / "report.html" if self.folder else None
            raise SloMissedError(
                f"verification failed: {judgement.reasons[0]}",
                where=f"--slo {self._verification.slo.text}",
                hint=f"{report} shows what was measured" if report else None,
            )
        return f"verified: {judgement.text}"

    def _died(self, release: Release) -> EngineError:
        return readiness.failed(self._driver, release, "the engine died under load")

    def _judge(self, release: Release, endpoint: Endpoint) -> Judgement:
        asked = self._verification
        if not asked.watch:
            return self._measure(endpoint)
        return watch(self._driver, release, asked.slo, asked.seconds, tell=self._tell)

    def _measure(self, endpoint: Endpoint) -> Judgement:
        asked = self._verification
        request = LoadRequest(
            **asked.load,
            workload=asked.workload,
            duration=f"{asked.seconds:g}s",
            warmup=WARMUP,
            workers="auto",
        )
        traffic = setup.build(request, endpoint, choose(endpoint, models(endpoint)))
        measured = runs.measure_with_enough_workers(
            traffic, endpoint, asked.out, slo=asked.slo, gated=True, tell=self._tell
        )
        result, self.folder = measured.result, measured.folder
        reports.write_reports(self.folder, result, tell=self._tell)
        Announcer(Settings(), self._tell).measured(result, self.folder)
        if result.interrupted:
            raise KeyboardInterrupt
        return judge.of_load(result)

    def document(self) -> dict[str, Any]:
        """What JSON answers say of it."""
        asked, judgement = self._verification, self.judgement
        return {
            "how": "watch" if asked.watch else "load",
            "slo": asked.slo.text,
            "load": None if asked.watch else asked.load,
            "seconds": asked.seconds,
            "passed": judgement.passed if judgement else None,
            "reasons": list(judgement.reasons) if judgement else [],
            "objectives": [dataclasses.asdict(o) for o in judgement.objectives]
            if judgement
            else [],
            "folder": str(self.folder) if self.folder else None,
        }


def watch(
    driver: Driver,
    release: Release,
    slo: Slo,
    seconds: float,
    *,
    tell: Tell = silent,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Judgement:
    """Scrapes again and again, all engines, and ends early where the SLO is missed beyond doubt.

    Raises:
        EngineError: the engine died.
        TargetError: /metrics of one does not answer, or is no vLLM's.
    """
    engines = driver.engines(release)
    where = ", ".join(f"{engine.url}/metrics" for engine in engines)
    if not engines:
        raise TargetError("no engine is ready", where=release.service)
    tell(Event("heading", f"watching {where} for {duration(seconds)}, for {slo.text}"))
    first = _scrape(engines)
    end = clock() + seconds
    seen: list[Judgement] = []
    unanswered = 0
    while (left := end - clock()) > 0:
        sleep(min(left, max(LEAST_S, min(MOST_S, seconds / SCRAPES))))
        if driver.state(release).condition != "running":
            raise readiness.failed(driver, release, "the engine died while it was watched")
        try:
            now = _scrape(engines)
        except TargetError:
            unanswered += 1
            if unanswered >= SILENCES:
                raise
            continue
        unanswered = 0
        seen.append(judge.of_watch(slo, first, now))
        tell(Event("note", f"{duration(max(0.0, end - clock()))} left: {seen[-1].text}"))
        if judge.certainly_missed(seen):
            tell(Event("note", "clearly missed: the watch ends early"))
            break
    if not seen:
        raise TargetError("/metrics did not answer in that time", where=where)
    return seen[-1]


def _scrape(engines: Sequence[Endpoint]) -> metrics.Snapshot:
    return metrics.together([metrics.scrape(engine) for engine in engines])
