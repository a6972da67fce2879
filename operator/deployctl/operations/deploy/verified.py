"""A verified rollout: a new release that is kept only if its verification passed."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from deployctl.errors import (
    DeployctlError,
    InterruptedByUserError,
    SloMissedError,
    TargetError,
)
from deployctl.events import Event, Tell
from deployctl.operations.deploy.placement import Placement, place, port
from deployctl.operations.deploy.verification import Verification, Verifier
from deployctl.operations.prepare import Prepared
from deployctl.render import gateway, render_for
from deployctl.render.bundle import Bundle
from deployctl.render.candidate import Render, candidate
from deployctl.targets import Driver, history
from deployctl.targets import canary as canaries
from deployctl.targets.driver import Room
from deployctl.targets.history import Outcome, Release
from deployctl.targets.rollout import REAL, Rollout
from deployctl.targets.store import ServiceRef, Store
from deployctl.units import duration


@dataclass(frozen=True)
class Verified:
    """What became of a verification."""

    where: str  # beside, replaced, in_place
    why: str  # there
    kept: bool
    gaps_s: tuple[float, ...]  # in which nothing of the service answered
    seen: dict[str, Any]  # how it was verified and what was measured

    def document(self) -> dict[str, Any]:
        """What JSON answers say of it."""
        return {
            **self.seen,
            "where": self.where,
            "why": self.why,
            "kept": self.kept,
            "gaps_s": [round(gap, 1) for gap in self.gaps_s],
        }


class Aside(NamedTuple):
    """How a release is tried beside the one that serves, on a cluster."""

    room: Callable[[], Room]
    render: Render


class VerifiedRollout:
    """One rollout of one service with its verification."""

    def __init__(
        self,
        verification: Verification,
        prepared: Prepared,
        bundle: Bundle,
        *,
        driver: Driver,
        store: Store,
        rollout: Rollout,
        tell: Tell,
        cluster: Aside | None = None,
    ) -> None:
        self._verification = verification
        self._prepared = prepared
        self._bundle = bundle
        self._driver = driver
        self._store = store
        self._rollout = rollout
        self._tell = tell
        self._cluster = cluster
        self._verifier = Verifier(verification, driver, tell)
        self._service = prepared.spec.service
        self._where, self._why = "in_place", "it serves already"

    def run(self, *, again: bool = False) -> tuple[Outcome, Verified]:
        """Brings it up and verifies it: as a canary where there is room, else in its place; `again`
        as `Rollout.up` has it.

        Raises:
            SloMissedError: it was not shown to hold its SLO; what served before serves.
            Otherwise as `Rollout.up`. Where a verification had begun, `error.result` says what
            became of it.
        """
        try:
            placement = self._place()
            outcome = self._rollout.up(
                self._prepared.spec,
                self._prepared.plan,
                self._bundle,
                verify_canary=partial(self._as_canary, placement) if placement.canary else None,
                verify=partial(self._in_place, placement),
                again=again,
            )
            if not outcome.changed:
                self._once_more(outcome.release)
        except DeployctlError as error:
            if self._verifier.began:
                error.result = self._verified(kept=self._stays(error))
            raise
        return outcome, self._verified(kept=True)

    def _stays(self, error: DeployctlError) -> bool:
        """Whether it is the one that serves all the same: Ctrl-C came while the one before it had
        its last requests end, or while it was verified once more."""
        with suppress(DeployctlError):
            releases = self._store.releases(ServiceRef(self._driver.target, self._service))
            current = history.deployed(releases)
            same = current is not None and current.bundle.digest == self._bundle.digest
            return same and isinstance(error, InterruptedByUserError)
        return False

    def _verified(self, *, kept: bool) -> Verified:
        gaps = tuple(self._rollout.gaps_s)
        return Verified(self._where, self._why, kept, gaps, self._verifier.document())

    def _place(self) -> Placement:
        ref = ServiceRef(self._driver.target, self._service)
        current = history.deployed(self._store.releases(ref))
        serving = current is not None and self._driver.state(current).condition == "running"
        if serving and current is not None and current.bundle.digest == self._bundle.digest:
            return Placement(False, "it serves already")
        asked = self._verification
        look = self._cluster.room if self._cluster else None
        return place(asked.canary, self._prepared, watch=asked.watch, serving=serving, cluster=look)

    def _in_place(self, placement: Placement, release: Release) -> str:
        self._where, self._why = "replaced", placement.why
        self._note(f"verifying revision {release.revision} in place ({placement.why})")
        return self._verifier.verify(release, self._service)

    def _as_canary(self, placement: Placement, release: Release) -> str:
        self._where, self._why = "beside", placement.why
        canary = self._canary(release, placement)
        where = "" if self._cluster else f" on port {canary.spec.port}"
        self._note(
            f"trying revision {release.revision} as {canary.service}{where}, as a canary "
            f"({placement.why})"
        )
        begun, took_s = REAL.clock(), 0.0

        def verify(live: Release) -> str:
            nonlocal took_s
            took_s = REAL.clock() - begun
            self._note(f"verifying {live.service}")
            return self._verifier.verify(live, self._service)

        try:
            said = canaries.run(self._driver, self._store, canary, verify, self._tell, REAL)
        except (SloMissedError, TargetError) as error:
            untouched = f"{self._service} was not touched and still serves"
            error.hint = "; ".join(filter(None, [error.hint, untouched]))
            raise
        gap = f", with a gap of about the start-up time ({duration(took_s)})"
        none = self._cluster or gateway.entry_of(self._bundle)  # there requests wait at most
        self._note(f"the SLO is met; replacing the old revision{'' if none else gap}")
        return said

    def _canary(self, release: Release, placement: Placement) -> Release:
        """The release as a service of its own, on a port and cards of its own."""
        spec, plan = self._prepared.spec, self._prepared.plan
        target, cluster = self._driver.target, self._cluster
        tried = candidate(
            spec,
            plan,
            target,
            port=spec.port if cluster else port(spec.port, target),
            cards=placement.cards,
            render=cluster.render if cluster else render_for,
        )
        return release.model_copy(
            update={
                "service": tried.spec.service,
                "revision": 1,
                "reason": f"candidate of {spec.service}",
                "candidate_of": spec.service,
                **tried._asdict(),
            }
        )

    def _once_more(self, release: Release) -> None:
        """What serves already is measured all the same, and stays whatever comes of it."""
        self._note(f"verifying revision {release.revision}, which serves already")
        try:
            self._verifier.verify(release, self._service)
        except SloMissedError as error:
            error.hint = (
                "nothing was changed, so there is nothing to roll back; "
                f"deployctl rollback {release.service} restores the previous revision"
            )
            raise

    def _note(self, text: str) -> None:
        self._tell(Event("note", text))
