"""Keep or roll back: a rollout that counts only when its verification passed."""

from typing import TYPE_CHECKING, Any

from deployctl.cli.console import story
from deployctl.errors import DeployctlError, SloMissedError, TargetError
from deployctl.operations.deploy import canary as beside
from deployctl.operations.deploy.verification import Verification
from deployctl.operations.measure.gate import job_summary
from deployctl.units import duration

if TYPE_CHECKING:
    from deployctl.events import Tell
    from deployctl.operations.prepare import Prepared
    from deployctl.planning.plan import ServingPlan
    from deployctl.render.bundle import Bundle, TargetKind
    from deployctl.spec import ServiceSpec
    from deployctl.targets import Driver
    from deployctl.targets.history import Release
    from deployctl.targets.rollout import Outcome, Rollout
    from deployctl.targets.store import Store


def render(plan: "ServingPlan", spec: "ServiceSpec", kind: "TargetKind") -> "Bundle":
    """Renders for a target that a driver runs."""
    from deployctl.render import render_compose, render_process

    return render_compose(plan, spec) if kind == "docker" else render_process(plan, spec)


class Keeper:
    """One verified rollout of one service, and what became of it."""

    def __init__(
        self,
        check: Verification,
        driver: "Driver",
        store: "Store",
        rollout: "Rollout",
        tell: "Tell",
    ) -> None:
        self._check = check
        self._driver = driver
        self._store = store
        self._rollout = rollout
        self._tell = tell
        self._where = "in_place"
        self._why = "it serves already"

    def up(
        self,
        prepared: "Prepared",
        bundle: "Bundle",
        documents: list[dict[str, Any]],
        more: dict[str, Any],
    ) -> "Outcome":
        """Brings it up and verifies it: beside what serves where there is room, else in its
        place. A failure's document is added to `documents`.

        Raises:
            SloMissedError: it was not shown to hold its SLO; what served before serves.
            Otherwise as `Rollout.up`.
        """
        service = prepared.spec.service
        try:
            choice = self._choose(prepared, bundle)
            outcome = self._rollout.up(
                prepared.spec,
                prepared.plan,
                bundle,
                verify_canary=self._rehearsal(prepared, choice) if choice.beside else None,
                verify=lambda release: self._in_place(release, choice.why),
            )
            if not outcome.changed:
                self._look_again(outcome)
        except DeployctlError as error:
            if self._check.began:
                job_summary(f"**{service}: not kept.** {error.message}")
                document = self._what_serves(service)
                documents.append({**document, **more, "verification": self.document(kept=False)})
            raise
        for gap in self._rollout.gaps_s:
            story(f"nothing of {service} answered for {duration(gap)}")
        job_summary(f"**{service}: revision {outcome.release.revision} is kept.**")
        return outcome

    def document(self, *, kept: bool) -> dict[str, Any]:
        """What JSON answers say of it."""
        return {
            **self._check.document(),
            "where": self._where,  # beside, replaced, in_place
            "why": self._why,
            "kept": kept,
            "gaps_s": [round(gap, 1) for gap in self._rollout.gaps_s],
        }

    def _choose(self, prepared: "Prepared", bundle: "Bundle") -> beside.Choice:
        from deployctl.targets import history
        from deployctl.targets.store import ServiceRef

        flags = self._check.flags
        ref = ServiceRef(self._driver.kind, prepared.spec.service)
        current = history.deployed(self._store.releases(ref))
        serving = current is not None and self._driver.state(current).condition == "running"
        if serving and current is not None and current.bundle.digest == bundle.digest:
            return beside.Choice(False, "it serves already")
        return beside.choose(flags.beside, prepared, watch=flags.watch, serving=serving)

    def _in_place(self, release: "Release", why: str) -> str:
        self._where, self._why = "replaced", why
        self._note(f"verifying revision {release.revision} in its place ({why})")
        return self._check.look(self._driver, release, release.service)

    def _rehearsal(self, prepared: "Prepared", choice: beside.Choice) -> Any:
        from deployctl.render.candidate import candidate
        from deployctl.targets import canary
        from deployctl.targets.rollout import REAL

        spec, plan = prepared.spec, prepared.plan

        def run(release: "Release") -> str:
            self._where, self._why = "beside", choice.why
            tried = candidate(
                spec, plan, self._driver.kind, port=beside.free_port(spec.port), cards=choice.cards
            )
            self._note(
                f"trying revision {release.revision} as {tried.spec.service} on port "
                f"{tried.spec.port}, beside what serves ({choice.why})"
            )
            stand_in = release.model_copy(
                update={
                    "service": tried.spec.service,
                    "revision": 1,
                    "reason": f"candidate of {spec.service}",
                    "candidate_of": spec.service,
                    "spec": tried.spec,
                    "plan": tried.plan,
                    "bundle": tried.bundle,
                }
            )
            begun = REAL.clock()
            took = 0.0

            def look(live: "Release") -> str:
                nonlocal took
                took = REAL.clock() - begun
                self._note(f"verifying {live.service}")
                return self._check.look(self._driver, live, spec.service)

            try:
                said = canary.run(self._driver, self._store, stand_in, look, self._tell, REAL)
            except (SloMissedError, TargetError) as error:
                untouched = f"{spec.service} goes on as it was: it was not touched"
                error.hint = "; ".join(filter(None, [error.hint, untouched]))
                raise
            self._note(
                f"it holds; replacing: nothing will answer for about as long as it took to start "
                f"({duration(took)})"
            )
            return said

        return run

    def _look_again(self, outcome: "Outcome") -> None:
        """What serves already is measured all the same, and stays whatever comes of it."""
        release = outcome.release
        self._note(f"verifying revision {release.revision}, which serves already")
        try:
            self._check.look(self._driver, release, release.service)
        except SloMissedError as error:
            error.hint = (
                "nothing was changed, so there is nothing to take back; "
                f"deployctl rollback {release.service} brings the revision before it"
            )
            raise

    def _note(self, text: str) -> None:
        from deployctl.events import Event

        self._tell(Event("note", text))

    def _what_serves(self, service: str) -> dict[str, Any]:
        """After a failure: what runs now, looked at rather than believed."""
        from deployctl.operations.deploy.services import outcome_document
        from deployctl.targets import history
        from deployctl.targets.rollout import Outcome
        from deployctl.targets.store import ServiceRef

        try:
            releases = self._store.releases(ServiceRef(self._driver.kind, service))
            current = history.deployed(releases)
            if current is not None and self._driver.state(current).condition == "running":
                return outcome_document(
                    self._driver, self._store, Outcome(current, changed=False, seconds=0.0)
                )
        except DeployctlError as error:
            story(f"what serves now cannot be told: {error.message}")
        nothing = dict.fromkeys(("revision", "url", "model", "api_key_file", "log"))
        known = {"service": service, "target": self._driver.kind, "changed": False, "seconds": 0.0}
        return {**known, **nothing}
