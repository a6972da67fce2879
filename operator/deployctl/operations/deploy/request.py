"""What may be asked of `up --verify`: one field an option."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from deployctl.errors import InputError
from deployctl.spec import ServiceSpec
from deployctl.spec.option import flag_of, option

When = Literal["auto", "yes", "no"]
FOR, WATCH_FOR = "60s", "5m"
WARMUP = "5s"
_PANEL = "Verification"


class VerificationRequest(BaseModel):
    """How a new release is verified. None: as the recommendation or the spec says, or a default."""

    model_config = ConfigDict(frozen=True)

    slo: str | None = option(
        None,
        "SLO to meet: ttft_p95=500ms,itl_p99=50ms,error_rate=1%. [default: the recommendation's]",
        _PANEL,
        metavar="SLO",
    )
    workload: str | None = option(
        None,
        "Workload: as for loadtest. [default: the recommendation's, or fixed]",
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
        "Send no load: watch the metrics of its live traffic.",
        _PANEL,
        flag="--watch-metrics",
    )
    canary: When = option(
        "auto",
        "Verify the new revision as a canary next to the old one, on its own port: auto (if there "
        "is room), yes, or no (in place). Without --verify: behind a host's gateway, have it "
        "come up next to the old one and take over.",
        _PANEL,
        flag="--beside",
        metavar="WHEN",
        show_default=False,
    )
    out: Path | None = option(
        None,
        "Folder for the results. [default: results/NAME-TIME]",
        _PANEL,
        flag="--verify-out",
        metavar="DIR",
    )

    def flags(self) -> list[str]:
        """The flags of what is not as it is by default."""
        fields = type(self).model_fields.items()
        changed = [name for name, field in fields if getattr(self, name) != field.default]
        return [flag_of(type(self), name) for name in changed]


def request_for(
    spec: ServiceSpec, asked: VerificationRequest, verify: bool, several: bool
) -> VerificationRequest | None:
    """What is asked of one service of several: its results go into a folder of their own.

    Raises:
        InputError: it is said how to verify, and --verify is not given. Behind a gateway,
            --beside goes without.
    """
    if not verify:
        beside = {"--beside"} if _behind_gateway(spec) else set()
        for flag in (each for each in asked.flags() if each not in beside):
            or_so = ", or --gateway" if flag == "--beside" else ""
            raise InputError(f"{flag} goes with --verify", where=flag, hint=f"add --verify{or_so}")
        return None
    if asked.out is None or not several:
        return asked
    return asked.model_copy(update={"out": asked.out / spec.service})


def _behind_gateway(spec: ServiceSpec) -> bool:
    """Whether its requests come by a host's gateway, before which there is no plan yet."""
    return spec.wants_gateway or ((spec.replicas or 1) > 1 and spec.target != "kubernetes")


def takeover_for(asked: VerificationRequest, verify: bool) -> When:
    """Whether it is to take over from the one that serves, beside it. One that is verified has its
    `yes` as a canary, which may be on other cards, and on targets where no engine takes over."""
    return "auto" if verify and asked.canary == "yes" else asked.canary
