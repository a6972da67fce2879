"""The options of `up --verify`, and what was given of them."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployctl.operations.deploy.canary import Beside

if TYPE_CHECKING:
    from deployctl.spec import ServiceSpec

FOR, WATCH_FOR = "60s", "5m"
WARMUP = "5s"
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
        help="Users at once. \\[default: --users, or by the recommendation, or 4]",
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
        f"How long to measure, after a warm-up of {WARMUP}. \\[default: {FOR}; {WATCH_FOR} "
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
