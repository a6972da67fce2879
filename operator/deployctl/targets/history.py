"""Release: one applied revision of a service on a target; and what its history says. Pure.

A history is the service's releases, oldest first: which one runs, which to go back to.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from deployctl.errors import NotFoundError
from deployctl.planning.plan import ServingPlan
from deployctl.render import Bundle, gateway
from deployctl.spec import ServiceSpec

Status = Literal["pending", "deployed", "superseded", "failed", "removed"]
_SERVED = ("deployed", "superseded", "removed")  # it did answer once
# Of those that served, and of those that did not: what is kept where others see it too.
KEPT = 10


class Release(BaseModel):
    """One revision: what was wanted, what was planned, what was rendered, how it went."""

    model_config = ConfigDict(frozen=True)

    service: str
    revision: int  # 1, 2, 3 …
    status: Status
    created: str  # ISO 8601, UTC
    reason: str  # "up", "rollback to 3", …
    message: str = ""  # why it failed, or what replaced it
    candidate_of: str | None = None  # the service whose canary it is
    replica: int | None = Field(None, exclude=True)  # which engine of it is meant; None: all
    spec: ServiceSpec
    plan: ServingPlan
    bundle: Bundle


def replicas(release: Release) -> list[Release]:
    """Each engine of a release by itself, where a host has several of it; else the release."""
    entry = gateway.entry_of(release.bundle)
    if entry is None or entry.replicas == 1 or release.replica is not None:
        return [release]
    return numbered(release, range(entry.replicas))


def numbered(release: Release, numbers: Iterable[int]) -> list[Release]:
    """The engines of a release that have these numbers."""
    return [release.model_copy(update={"replica": number}) for number in numbers]


class Outcome(NamedTuple):
    """What `up` or `rollback` came to."""

    release: Release
    changed: bool
    seconds: float  # from the start of the engine to its first answer
    fetch_seconds: float = 0.0  # before that: for its image and its model to be there, whole


class Content(NamedTuple):
    """What makes a revision."""

    reason: str
    spec: ServiceSpec
    plan: ServingPlan
    bundle: Bundle


def following(
    releases: Sequence[Release], service: str, now: datetime, content: Content
) -> Release:
    """The revision that comes next, pending."""
    return Release(
        service=service,
        revision=releases[-1].revision + 1 if releases else 1,
        status="pending",
        created=now.isoformat(timespec="seconds"),
        **content._asdict(),
    )


def deployed(releases: Sequence[Release]) -> Release | None:
    """The revision that should be running: the newest deployed one."""
    return next(reversed(all_deployed(releases)), None)


def all_deployed(releases: Sequence[Release]) -> list[Release]:
    """Several, where a deployctl was killed in the middle or could not write what it did."""
    return [r for r in releases if r.status == "deployed"]


def pending(releases: Sequence[Release]) -> list[Release]:
    """Revisions that a deployctl began and did not finish; it works on them, or was killed."""
    return [r for r in releases if r.status == "pending"]


def shown(releases: Sequence[Release]) -> Release:
    """The revision that speaks for the service: at work, else running, else the newest."""
    unfinished = pending(releases)
    return unfinished[-1] if unfinished else deployed(releases) or releases[-1]


def to_go_back_to(releases: Sequence[Release], revision: int | None) -> Release:
    """The revision that `rollback` brings back: the one named, or the last that ran otherwise.

    Raises:
        NotFoundError: there is none, or the one named never served.
    """
    current = deployed(releases)
    good = [r for r in releases if r.status in _SERVED]
    listed = ", ".join(str(r.revision) for r in good) or "none"
    if revision is not None:
        for release in good:
            if release.revision == revision:
                return release
        known = any(r.revision == revision for r in releases)
        raise NotFoundError(
            f"revision {revision} never served" if known else f"there is no revision {revision}",
            where=releases[-1].service if releases else None,
            hint=f"revisions that served: {listed}",
        )
    digest = current.bundle.digest if current else None
    for release in reversed(good):
        if release is not current and release.bundle.digest != digest:
            return release
    raise NotFoundError(
        "there is no earlier revision that differs from the one in place",
        where=releases[-1].service if releases else None,
        hint=f"revisions that served: {listed}; deployctl up restarts what has died",
    )


def too_old(statuses: Mapping[int, str], kept: int = KEPT) -> set[int]:
    """Of revisions, by what became of them: those before the newest `kept` of their kind. Those
    that served, which rollback reaches, and those that failed are counted apart: however many fail,
    the way back stays. One that is at work is never too old."""
    ended = sorted((n for n, status in statuses.items() if status != "pending"), reverse=True)
    failed = [n for n in ended if statuses[n] == "failed"]
    served = [n for n in ended if statuses[n] != "failed"]
    return {*served[kept:], *failed[kept:]}
