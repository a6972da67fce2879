"""`up --verify`: the options, and the look at a live release that decides whether it is kept."""

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployctl import units
from deployctl.cli.beside import Beside
from deployctl.cli.console import story
from deployctl.errors import EngineError, InputError, SloMissedError

if TYPE_CHECKING:
    from deployctl.cli.endpoint import Endpoint
    from deployctl.cli.tuned import Tuned
    from deployctl.load.slo import Slo
    from deployctl.spec import ServiceSpec
    from deployctl.targets import Driver
    from deployctl.targets.release import Release
    from deployctl.tuning.verify import Judgement

_FOR, _WATCH_FOR = "60s", "5m"
_WARMUP = "5s"
_PANEL = "Verification"


def _option(flag: str, text: str, metavar: str | None = None) -> Any:
    return typer.Option(
        flag, help=text, metavar=metavar, rich_help_panel=_PANEL, show_default=False
    )


VerifyOption = Annotated[
    bool,
    _option(
        "--verify",
        "Keep the new revision only if it holds --slo under load; else the old one comes back, "
        "and the exit code is 5.",
    ),
]
SloOption = Annotated[
    str | None,
    _option(
        "--slo",
        "What it must hold: ttft_p95=500ms,itl_p99=50ms,error_rate=1%. \\[default: the "
        "recommendation's]",
        "SLO",
    ),
]
WorkloadOption = Annotated[
    str | None,
    _option(
        "--workload",
        "What it is asked: as for loadtest. \\[default: the recommendation's, or fixed]",
        "NAME",
    ),
]
VerifyUsersOption = Annotated[
    int | None,
    typer.Option(
        "--verify-users",
        min=1,
        help="Users at once. \\[default: --users, or the load of the recommendation, or 4]",
        metavar="N",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
RateOption = Annotated[
    float | None,
    _option("--rate", "Instead of users: requests a second, in an open loop.", "R"),
]
VerifyForOption = Annotated[
    str | None,
    _option(
        "--verify-for",
        f"How long to measure, after a warm-up of {_WARMUP}. \\[default: {_FOR}; {_WATCH_FOR} "
        "to watch]",
        "TIME",
    ),
]
WatchOption = Annotated[
    bool,
    _option(
        "--watch-metrics",
        "Do not load it: watch what its users have, by its /metrics.",
    ),
]
BesideOption = Annotated[
    Beside,
    _option(
        "--beside",
        "Try the new revision beside the old one, on a port of its own: auto (where there is "
        "room), yes, or no (replace, and bring back).",
        "WHEN",
    ),
]
VerifyOutOption = Annotated[
    Path | None,
    _option("--verify-out", "Folder for what was measured. \\[default: results/NAME-TIME]", "DIR"),
]


@dataclasses.dataclass(frozen=True)
class VerifyFlags:
    """What was given on the command line."""

    verify: bool = False
    slo: str | None = None
    workload: str | None = None
    users: int | None = None
    rate: float | None = None
    duration: str | None = None
    watch: bool = False
    beside: Beside = "auto"
    out: Path | None = None

    @property
    def stray(self) -> str | None:
        """The first option that makes no sense without --verify."""
        given = {
            "--slo": self.slo,
            "--workload": self.workload,
            "--verify-users": self.users,
            "--rate": self.rate,
            "--verify-for": self.duration,
            "--watch-metrics": self.watch or None,
            "--beside": None if self.beside == "auto" else self.beside,
            "--verify-out": self.out,
        }
        return next((flag for flag, value in given.items() if value is not None), None)

    def below(self, spec: "ServiceSpec", specs: "list[ServiceSpec]") -> "VerifyFlags":
        """For one service of several: its results go into a folder of their own."""
        if self.out is None or len(specs) == 1:
            return self
        return dataclasses.replace(self, out=self.out / spec.service)


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
        text = flags.duration or (_WATCH_FOR if flags.watch else _FOR)
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
        from deployctl.cli.endpoint import Endpoint, base_url
        from deployctl.errors import TargetError
        from deployctl.targets import readiness

        self.began = True
        found = driver.endpoint(release)
        endpoint = Endpoint(base_url(found.url), found.model, found.api_key, service)
        try:
            if self.flags.watch:
                from deployctl.cli import watching

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
        from deployctl.cli import loadgate, loadmeasure, loadsetup, served
        from deployctl.cli.loadflags import LoadFlags
        from deployctl.tuning import verify

        flags = LoadFlags(
            **self._load,
            workload=self._workload,
            duration=f"{self.seconds:g}s",
            warmup=_WARMUP,
            workers="auto",
        )
        setup = loadsetup.build(flags, endpoint, served.choose(endpoint, served.models(endpoint)))
        out = self.flags.out
        result, self.folder = loadmeasure.measure_with_enough_workers(
            setup, endpoint, out, slo=self.slo, gated=True, cores=os.cpu_count() or 1
        )
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
    """Rate or users: as given, as the spec's, as the recommendation was had with, or 4 users."""
    if flags.rate is not None:
        return {"rate": flags.rate}
    if users := flags.users or spec.users:
        return {"users": users}
    found = tuned.recommendation if tuned else None
    figures = (found.winner or found.baseline) if found else None
    kind, _, value = (figures.load or "").partition("=") if figures else ("", "", "")
    try:
        if kind == "rate":
            return {"rate": float(value)}
        if kind == "users":
            return {"users": max(1, round(float(value)))}
    except (ValueError, OverflowError):
        pass
    return {"users": 4}
