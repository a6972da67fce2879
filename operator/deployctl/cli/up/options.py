"""What may be asked of `up --verify`: one field an option."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from deployctl.operations.deploy.canary import Beside
from deployctl.spec import ServiceSpec
from deployctl.spec.option import flag_of, option

FOR, WATCH_FOR = "60s", "5m"
WARMUP = "5s"
_PANEL = "Verification"


class VerifyFlags(BaseModel):
    """What was given on the command line."""

    model_config = ConfigDict(frozen=True)

    verify: bool = option(
        False,
        "Keep the new revision only if it holds --slo under load; else the old one comes back, "
        "and the exit code is 5.",
        _PANEL,
    )
    slo: str | None = option(
        None,
        "What it must hold: ttft_p95=500ms,itl_p99=50ms,error_rate=1%. [default: the "
        "recommendation's]",
        _PANEL,
        metavar="SLO",
    )
    workload: str | None = option(
        None,
        "What it is asked: as for loadtest. [default: the recommendation's, or fixed]",
        _PANEL,
        metavar="NAME",
    )
    users: int | None = option(
        None,
        "Users at once. [default: --users, or by the recommendation, or 4]",
        _PANEL,
        flag="--verify-users",
        metavar="N",
        ge=1,
    )
    rate: float | None = option(
        None, "Instead of users: requests a second, in an open loop.", _PANEL, metavar="R"
    )
    duration: str | None = option(
        None,
        f"How long to measure, after a warm-up of {WARMUP}. [default: {FOR}; {WATCH_FOR} to watch]",
        _PANEL,
        flag="--verify-for",
        metavar="TIME",
    )
    watch: bool = option(
        False,
        "Do not load it: watch what its users have, by its /metrics.",
        _PANEL,
        flag="--watch-metrics",
    )
    beside: Beside = option(
        "auto",
        "Try the new revision beside the old one, on a port of its own: auto (where there is "
        "room), yes, or no (replace, and bring back).",
        _PANEL,
        metavar="WHEN",
        show_default=False,
    )
    out: Path | None = option(
        None,
        "Folder for what was measured. [default: results/NAME-TIME]",
        _PANEL,
        flag="--verify-out",
        metavar="DIR",
    )

    @property
    def stray(self) -> str | None:
        """The first option that makes no sense without --verify."""
        given = (
            name
            for name, field in type(self).model_fields.items()
            if name != "verify" and getattr(self, name) != field.default
        )
        return next((flag_of(type(self), name) for name in given), None)

    def below(self, spec: ServiceSpec, specs: list[ServiceSpec]) -> "VerifyFlags":
        """For one service of several: its results go into a folder of their own."""
        if self.out is None or len(specs) == 1:
            return self
        return self.model_copy(update={"out": self.out / spec.service})
