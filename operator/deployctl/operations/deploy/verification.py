"""`up --verify`: the look at a live release that decides whether it is kept."""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployctl import units
from deployctl.cli.console import story
from deployctl.cli.up.options import FOR, WARMUP, WATCH_FOR, VerifyFlags
from deployctl.errors import EngineError, InputError, SloMissedError

if TYPE_CHECKING:
    from deployctl.endpoint import Endpoint
    from deployctl.load.slo import Slo
    from deployctl.operations.tuned import Tuned
    from deployctl.spec import ServiceSpec
    from deployctl.targets import Driver
    from deployctl.targets.history import Release
    from deployctl.tuning.recommendation import Figures
    from deployctl.tuning.verify import Judgement

_USERS = 4.0  # where nothing says how many
WITHIN = 0.8  # of the highest load that held while it was tuned


class Verification:
    """How one release is to be looked at, and what was seen."""

    def __init__(
        self, flags: VerifyFlags, slo: "Slo", workload: str | None, load: dict[str, Any]
    ) -> None:
        self.flags = flags
        self.slo = slo
        self.began = False
        self.judgement: Judgement | None = None
        self.folder: Path | None = None
        self._workload = workload
        self._load = load
        text = flags.duration or (WATCH_FOR if flags.watch else FOR)
        try:
            self.seconds = units.seconds(text)
        except ValueError as error:
            raise InputError(str(error), where="--verify-for") from error
        if self.seconds < 1:
            raise InputError(f"{text} is less than 1 s", where="--verify-for")

    def look(self, driver: "Driver", release: "Release", service: str) -> str:
        """Loads, or watches, a release that answers; returns what to record of it.

        Raises:
            SloMissedError: it does not hold its SLO, or was not shown to.
            EngineError: it died.
            KeyboardInterrupt: Ctrl-C, while the load test ended in order.
        """
        from deployctl.endpoint import Endpoint
        from deployctl.errors import TargetError
        from deployctl.operations.measure.endpoint import base_url
        from deployctl.targets import readiness

        self.began = True
        found = driver.endpoint(release)
        endpoint = Endpoint(base_url(found.url), found.model, found.api_key, service)
        try:
            if self.flags.watch:
                from deployctl.operations.deploy import watch as watching

                judged = watching.watch(driver, release, endpoint, self.slo, self.seconds)
            else:
                judged = self._measure(endpoint)
        except EngineError:
            raise
        except TargetError as error:
            if driver.state(release).condition == "running":
                raise
            raise readiness.failed(driver, release, "the engine died under load") from error
        self.judgement = judged
        if driver.state(release).condition != "running":
            raise readiness.failed(driver, release, "the engine died under load")
        if not judged.passed:
            for reason in judged.reasons[1:]:
                story(f"also: {reason}")
            raise SloMissedError(
                f"verification failed: {judged.reasons[0]}",
                where=f"--slo {self.slo.text}",
                hint=f"{self.folder / 'report.html'} shows what was measured"
                if self.folder
                else None,
            )
        return f"verified: {judged.text}"

    def _measure(self, endpoint: "Endpoint") -> "Judgement":
        from deployctl.cli.loadtest.options import LoadFlags
        from deployctl.cli.loadtest.progress import LoadProgress
        from deployctl.operations.measure import gate as loadgate
        from deployctl.operations.measure import run as loadmeasure
        from deployctl.operations.measure import served
        from deployctl.operations.measure import setup as loadsetup
        from deployctl.tuning import verify

        flags = LoadFlags(
            **self._load,
            workload=self._workload,
            duration=f"{self.seconds:g}s",
            warmup=WARMUP,
            workers="auto",
        )
        setup = loadsetup.build(flags, endpoint, served.choose(endpoint, served.models(endpoint)))
        out = self.flags.out
        with LoadProgress() as tell:
            measured = loadmeasure.measure_with_enough_workers(
                setup, endpoint, out, slo=self.slo, gated=True, tell=tell
            )
        result, self.folder = measured.result, measured.folder
        loadgate.write_reports(self.folder, result, None)
        if result.interrupted:
            raise KeyboardInterrupt
        return verify.of_load(result)

    def document(self) -> dict[str, Any]:
        """What JSON answers say of it."""
        seen = self.judgement
        return {
            "how": "watch" if self.flags.watch else "load",
            "slo": self.slo.text,
            "load": None if self.flags.watch else self._load,
            "seconds": self.seconds,
            "passed": seen.passed if seen else None,
            "reasons": list(seen.reasons) if seen else [],
            "objectives": [dataclasses.asdict(o) for o in seen.objectives] if seen else [],
            "folder": str(self.folder) if self.folder else None,
        }


def read(flags: VerifyFlags, tuned: "Tuned | None", spec: "ServiceSpec") -> Verification | None:
    """From flags and recommendation to what will be done; None without --verify.

    Raises:
        InputError: there is no SLO, it makes no sense, or options do not go together.
    """
    from deployctl.load import slo as slos
    from deployctl.tuning import verify

    if not flags.verify:
        if flags.stray:
            raise InputError(
                f"{flags.stray} says how to verify", where=flags.stray, hint="add --verify"
            )
        return None
    measured = tuned.recommendation.measured if tuned else None
    text = flags.slo or (measured.slo if measured else None)
    if text is None:
        raise InputError(
            "there is no SLO to hold it to",
            where="--verify",
            hint="add for example --slo ttft_p95=500ms,error_rate=1%",
        )
    slo = slos.parse(text)
    if flags.watch:
        verify.check_watchable(slo)
        if flags.beside == "yes":
            raise InputError(
                "a candidate beside the service has no users to be watched",
                where="--beside yes",
                hint="leave out --watch-metrics, so that a load test asks it",
            )
        for flag, value in (("--rate", flags.rate), ("--verify-users", flags.users)):
            if value is not None:
                raise InputError("watching sends no load", where=flag)
    if flags.rate is not None and flags.users is not None:
        raise InputError(
            "both --verify-users and --rate are given", where="--rate", hint="give one of them"
        )
    workload = flags.workload or (measured.workload if measured else None)
    return Verification(flags, slo, workload, _load(flags, tuned, spec))


def _load(flags: VerifyFlags, tuned: "Tuned | None", spec: "ServiceSpec") -> dict[str, Any]:
    """Rate or users: as given, as the spec's, or by the recommendation, or 4 users."""
    if flags.rate is not None:
        return {"rate": flags.rate}
    if users := flags.users or spec.users:
        return {"users": users}
    kind, value = _recommended(tuned)
    if kind == "rate":
        return {"rate": float(f"{value:.4g}")}
    return {"users": max(1, round(value))}


def _recommended(tuned: "Tuned | None") -> tuple[str, float]:
    """The load that a recommended figure was had at; less where that is the highest that held.

    At its limit a service misses its SLO every other time. It is asked for what is well within,
    and for no less than the baseline carried.
    """
    if tuned is None:
        return "users", _USERS
    found = tuned.recommendation
    kind, most = _load_of(found.winner or found.baseline)
    if found.measured.objective == "latency" or found.measured.slo is None:
        return kind, most
    other, least = _load_of(found.baseline)
    within = most * WITHIN
    return kind, min(most, max(within, least)) if other == kind else within


def _load_of(figures: "Figures | None") -> tuple[str, float]:
    kind, _, value = ((figures.load if figures else None) or "").partition("=")
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if kind in ("users", "rate") and 0 < number < math.inf:
        return kind, number
    return "users", _USERS
