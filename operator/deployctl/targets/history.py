"""Reads a service's revisions, oldest first: which one runs, which to go back to. Pure."""

from collections.abc import Sequence

from deployctl.errors import NotFoundError
from deployctl.targets.release import Release

_SERVED = ("deployed", "superseded", "removed")  # it did answer once


def deployed(releases: Sequence[Release]) -> Release | None:
    """The revision that should be running: the newest deployed one."""
    return next((r for r in reversed(releases) if r.status == "deployed"), None)


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
