"""Release: one applied revision of a service on a target."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from deployctl.planning.plan import ServingPlan
from deployctl.render import Bundle
from deployctl.spec import ServiceSpec

Status = Literal["pending", "deployed", "superseded", "failed", "removed"]


class Release(BaseModel):
    """One revision: what was wanted, what was planned, what was rendered, how it went."""

    model_config = ConfigDict(frozen=True)

    service: str
    revision: int  # 1, 2, 3 …
    status: Status
    created: str  # ISO 8601, UTC
    reason: str  # "up", "rollback to 3", …
    message: str = ""  # why it failed, or what replaced it
    candidate_of: str | None = None  # the service beside which it is tried
    spec: ServiceSpec
    plan: ServingPlan
    bundle: Bundle
