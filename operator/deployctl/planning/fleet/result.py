"""FleetPlan: what a fleet comes to. Its JSON is a documented contract (docs/reference/plan.md)."""

from pydantic import BaseModel, ConfigDict

from deployctl.errors import Reason
from deployctl.planning.plan import PLAN_VERSION, ServingPlan, Verdict


class CardShare(BaseModel):
    """What one service has of one card. GiB."""

    model_config = ConfigDict(frozen=True)

    service: str
    share: float | None  # its gpu_memory_utilization; None on a CPU
    gib: float  # held at most, its CUDA context and what is outside of the share counted
    weights_gib: float
    kv_cache_gib: float


class FleetCard(BaseModel):
    """One card of the host, or on a CPU the host, and who shares it. GiB."""

    model_config = ConfigDict(frozen=True)

    index: int  # as nvidia-smi counts
    gpu: str  # profile name
    memory_gib: float
    held_gib: float  # that others have
    shares: tuple[CardShare, ...]
    left_gib: float


class FleetNeed(BaseModel):
    """The least that a service takes, on the kind of card where that is least."""

    model_config = ConfigDict(frozen=True)

    service: str
    gpu: str | None  # None: it fits no card of the host, though it were alone
    cards: int = 0
    gib: float = 0.0  # on each


class FleetFix(BaseModel):
    """A change with which the fleet fits."""

    model_config = ConfigDict(frozen=True)

    service: str | None  # whose setting; None: of the host's cards
    change: str
    cost: str  # what the user gives for it

    def __str__(self) -> str:
        return f"{self.service}: {self.change}" if self.service else self.change


class FleetPlan(BaseModel):
    """Which service is on which card, with what share; or why they do not fit, and what would."""

    model_config = ConfigDict(frozen=True)

    version: int = PLAN_VERSION
    verdict: Verdict
    cards: tuple[FleetCard, ...]
    order: tuple[str, ...] = ()  # in which the services start
    needs: tuple[FleetNeed, ...] = ()
    services: tuple[ServingPlan, ...] = ()  # of a fleet that fits: each with its share
    reasons: tuple[Reason, ...] = ()
    fixes: tuple[FleetFix, ...] = ()  # the cheapest for the user first
