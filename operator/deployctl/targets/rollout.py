"""up, rollback and down, the same for every target.

The record is written before anything starts, and a driver can be asked about any record. So
whatever moment a deployctl is killed at, the next one knows all that may run.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from deployctl.errors import DeployctlError, InterruptedByUserError, TargetError, in_short
from deployctl.events import Event, Tell
from deployctl.planning.plan import ServingPlan
from deployctl.render import gateway
from deployctl.render.bundle import Bundle
from deployctl.spec import ServiceSpec
from deployctl.targets import drain, history, keys, newkey, removal, resume
from deployctl.targets.canary import Verify
from deployctl.targets.defaultkey import DefaultKey
from deployctl.targets.driver import Driver
from deployctl.targets.exchange import Exchange
from deployctl.targets.front import Front
from deployctl.targets.guards import interruptible, lock, shielded
from deployctl.targets.history import Outcome, Release
from deployctl.targets.readiness import Tools, ask, under_way
from deployctl.targets.store import ServiceRef, Store
from deployctl.targets.undo import Undo

# Has a release's model where its engine looks for it, whole, before any engine is touched.
Bring = Callable[[Driver, Release], object]
REAL = Tools(ask=ask, under_way=under_way)


class Rollout:
    """Changes one service on one target, under its lock."""

    def __init__(
        self,
        driver: Driver,
        store: Store,
        service: str,
        tell: Tell,
        *,
        environment: Mapping[str, str],
        bring: Bring,
        tools: Tools = REAL,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._driver = driver
        self._store = store
        self._ref = ServiceRef(driver.target, service)
        self._tell = tell
        self._environment = environment
        self._bring = bring
        self._tools = tools
        self._now = now
        self.front = Front(driver, service, tell, clock=tools.clock, now=now)
        self._exchange = Exchange(driver, self.front, tell, tools)
        self._undoing = Undo(driver, self.front, self._exchange, tell, tools)
        # Seconds without an answer, each time that one engine took the place of another.
        self.gaps_s: list[float] = []
        self._silent: float | None = None  # since when nothing answers, by the clock

    def up(
        self,
        spec: ServiceSpec,
        plan: ServingPlan,
        bundle: Bundle,
        *,
        verify_canary: Verify | None = None,
        verify: Verify | None = None,
        again: bool = False,
    ) -> Outcome:
        """Brings `spec` into service; changes nothing when it is there and answers, unless it is to
        be made `again` because somebody else changed it.

        `verify_canary` is called with the new revision while the old one still serves, `verify`
        when the new one answers in its place. What either raises ends the rollout: the former
        leaves the old revision alone, after the latter it runs again. What was verified as a canary
        is not verified again in its place; a revision that a killed deployctl left running is.

        Raises:
            Whatever `verify_canary` or `verify` raises.
            EngineError: it did not come up; what ran before runs again.
            InterruptedByUserError: Ctrl-C; what ran before is starting again.
            TargetError: port taken, records unwritable, another deployctl at work, and so on.
        """
        with self._at_work("deployctl up"):
            key = self._key(spec)
            adopted = self._settle(None if key.changes else bundle.digest)
            current = history.deployed(self._store.releases(self._ref))
            key.make_up_for_lost(current.spec if current else None)
            wanted = {"spec": spec, "plan": plan, "bundle": bundle}
            if adopted is not None:
                adopted = adopted.model_copy(update=wanted)
                self._tell(Event("note", f"going on with revision {adopted.revision}"))
                self._exchange.choose(current, adopted)
                return self._bring_up(adopted, current, key, verify=verify)
            if current and not again and self._serves(current, bundle.digest):
                newkey.refresh(self._driver, current, key, self._tell, self._tools.sleep)
                return self._serve_on(current, current.model_copy(update=wanted))
            return self._begin(
                "up", spec, plan, bundle, key, verify_canary=verify_canary, verify=verify
            )

    def rollback(self, revision: int | None) -> Outcome:
        """Makes a new revision from an earlier one: the one named, or the last that differs. Where
        it is the one on record as serving, and does not, that one is started again.

        Raises:
            NotFoundError: there is none to go back to.
            Otherwise as `up`.
        """
        with self._at_work("deployctl rollback"):
            self._settle(None)
            releases = self._store.releases(self._ref)
            old = history.to_go_back_to(releases, revision)
            current = history.deployed(releases)
            if current and self._serves(current, old.bundle.digest):
                wanted = {"spec": old.spec, "plan": old.plan, "bundle": old.bundle}
                return self._serve_on(current, current.model_copy(update=wanted))
            key = self._key(old.spec)
            if current and old.revision == current.revision and not self._driver.replaces:
                return self._again(current, key)
            return self._begin(f"rollback to {old.revision}", old.spec, old.plan, old.bundle, key)

    def _again(self, current: Release, key: DefaultKey) -> Outcome:
        self._driver.preflight(current, current)
        self._driver.fetch(current, self._tell)
        self._bring(self._driver, current)
        if current.spec.needs_api_key:
            key.place()
        seconds = resume.serve(self._driver, self.front, current, self._tell, self._tools)
        newkey.refresh(self._driver, current, key, self._tell, self._tools.sleep)
        return Outcome(current, changed=True, seconds=seconds)

    def down(self, *, volumes: bool) -> list[Release]:
        """Stops the service; keeps its history. Returns the revisions that it stopped.

        With `volumes`, the target's caches, logs, keys and the operator's token go too.

        Raises:
            TargetError: something of it still runs, or the records cannot be written.
        """
        with self._at_work("deployctl down"):
            untold = removal.in_spite_of(self.front.leave, self._tell)
            parts = self._driver, self._store, self._ref, self._tell
            stopped = removal.stop_all(*parts, stop=self._stop)
            untold = removal.in_spite_of(self.front.end, self._tell) or untold
            if volumes:
                self._driver.purge(self._ref.service, self._tell)
                keys.forget(self._store.folder(self._ref))
            removal.raise_untold(self._ref.service, untold)
            return stopped

    def take_over(self) -> None:
        """Makes another service of that name that the target has, and that was not known here, the
        one that is changed from here; says what it did.

        Raises:
            TargetError: another deployctl is at work, or it cannot be read or written.
        """
        folder, command = self._store.folder(self._ref), "deployctl --take-over"
        with lock(folder, self._ref.service, command), interruptible():
            self._driver.take_over(self._ref.service, command, self._tell)

    @contextmanager
    def _at_work(self, command: str) -> Iterator[None]:
        folder, service = self._store.folder(self._ref), self._ref.service
        with (
            lock(folder, service, command),
            interruptible(),
            self._driver.changing(service, command, self._tell),
        ):
            yield

    def _settle(self, digest: str | None) -> Release | None:
        removal.in_spite_of(self._lead_to_what_serves, self._tell)
        parts = self._driver, self._store, self._ref, self._tell
        return removal.settle(*parts, digest=digest, stop=self._stop)

    def _lead_to_what_serves(self) -> None:
        """Where a deployctl was killed while one engine took over from another: the one that stays
        gets the requests, before the other ends. Both are on record as serving, where only that the
        former has ended was not written; it may run on, and the new one have died since."""
        releases = self._store.releases(self._ref)
        settled = not history.pending(releases) and len(history.all_deployed(releases)) < 2
        if settled or self._driver.gateway is None:
            return
        serving = removal.to_stay(self._driver, releases)
        if serving is None:
            return
        if gateway.entry_of(serving.bundle) and self._driver.state(serving).condition == "running":
            self.front.lead(serving, answers=False)

    def _serves(self, current: Release, digest: str) -> bool:
        if current.bundle.digest != digest:
            return False
        state = self._driver.state(current)
        if state.condition != "running" or state.waits_for:
            return False
        self.front.begin(current)
        engines = [self._driver.endpoint(each) for each in history.replicas(current)]
        return all(self._tools.ask(each, resume.STILL_THERE_S).ok for each in engines)

    def _serve_on(self, current: Release, wanted: Release) -> Outcome:
        """With the engine that is there; what is wanted of the gateway may be another thing."""
        if wanted.bundle == current.bundle:
            self.front.lead(current)
            return Outcome(current, changed=False, seconds=0.0)
        self._driver.preflight(wanted, current)
        self.front.lead(wanted)
        self._store.save(self._ref, wanted)
        self._tell(Event("note", "the engine serves on; the gateway does what is new"))
        return Outcome(wanted, changed=False, seconds=0.0)

    def _begin(
        self,
        reason: str,
        spec: ServiceSpec,
        plan: ServingPlan,
        bundle: Bundle,
        key: DefaultKey,
        *,
        verify_canary: Verify | None = None,
        verify: Verify | None = None,
    ) -> Outcome:
        releases = self._store.releases(self._ref)
        current = history.deployed(releases)
        content = history.Content(reason, spec, plan, bundle)
        release = history.following(releases, self._ref.service, self._now(), content)
        self._store.save(self._ref, release)
        try:
            self._driver.preflight(release, current)
            begun = self._tools.clock()
            self._driver.fetch(release, self._tell)
            self._bring(self._driver, release)
            fetch_s = self._tools.clock() - begun
            said = verify_canary(release) if verify_canary is not None else ""
            self._exchange.choose(current, release)
        except BaseException as error:
            self._record_failure(release, error)
            raise
        outcome = self._bring_up(
            release, current, key, verify=None if verify_canary is not None else verify, said=said
        )
        return outcome._replace(fetch_seconds=fetch_s)

    def _bring_up(
        self,
        release: Release,
        current: Release | None,
        key: DefaultKey,
        *,
        verify: Verify | None = None,
        said: str = "",
    ) -> Outcome:
        """Stops `current`, unless the target replaces it by itself or it serves until the end;
        starts `release`, waits, looks; or undoes all of it."""
        begun = self._silent = self._tools.clock()
        to_restore: Release | None = None
        try:
            if current is not None and self._driver.replaces:
                to_restore = current
            elif current is not None:
                before = self._driver.state(current).condition
                # One that is on record as serving, and absent, was stopped to make room by a
                # deployctl that was killed.
                if before == "running" or (before == "absent" and verify is not None):
                    to_restore = current
            place = partial(newkey.place, self._driver, release, key=key)
            took = self._exchange.run(current, release, stop=self._stop, ready=place)
            if to_restore is not None and not (self._driver.replaces or took.served):
                self.gaps_s.append(took.answered - begun)
            self._silent = None
            if verify is not None:
                said = verify(release)
            done = self._mark(release, "deployed", said)
        except BaseException as error:
            with shielded(lambda: self._tell(Event("warning", "cleaning up first"))):
                raise self._undo(release, to_restore, key, error) from error
        interrupted = current is not None and self._supersede(current, release)
        try:
            if release.spec.needs_api_key and key.lift():
                self._driver.publish_keys(release)
        except TargetError as error:
            self._tell(Event("warning", f"the API key may be revoked still: {error.message}"))
        if interrupted:
            what = f"revision {release.revision} of {release.service} serves"
            raise InterruptedByUserError(f"interrupted; {what}", hint="nothing is left to be done")
        return Outcome(done, changed=True, seconds=took.answered - took.started)

    def _supersede(self, current: Release, release: Release) -> bool:
        """Ends what has served until now, where it still does; whether Ctrl-C came meanwhile, which
        ends the waiting for its requests alone."""
        interrupted = False
        try:
            if self._exchange.beside:
                self._tell(Event("note", f"stopping revision {current.revision}"))
                try:
                    self._stop(current)
                except KeyboardInterrupt:
                    interrupted = True
                    with shielded(lambda: self._tell(Event("warning", "stopping it first"))):
                        self._driver.stop(current, self._tell)
            self._mark(current, "superseded", f"by revision {release.revision}")
        except TargetError as error:  # the next up, rollback or down settles it
            self._tell(Event("warning", f"{error.message} ({error.where})"))
        return interrupted

    def _undo(
        self, release: Release, previous: Release | None, key: DefaultKey, error: BaseException
    ) -> BaseException:
        """Ends `release`, brings `previous` back, and says in the error how that went."""
        interrupted = isinstance(error, KeyboardInterrupt)
        begun = self._tools.clock() if self._silent is None else self._silent
        failed = partial(self._record_failure, release, error)
        notes, gap_s = self._undoing.run(
            release, previous, key, wait=not interrupted, begun=begun, failed=failed
        )
        if gap_s is not None:
            self.gaps_s.append(gap_s)
        if interrupted:
            return InterruptedByUserError(
                f"interrupted; revision {release.revision} of {release.service} is stopped",
                hint="; ".join(notes) or "nothing of it runs",
            )
        if isinstance(error, DeployctlError) and notes:
            error.hint = "; ".join(filter(None, [error.hint, *notes]))
        return error

    def _stop(self, release: Release) -> None:
        drain.stop(self._driver, release, self._tell, self._tools)

    def _mark(self, release: Release, status: str, message: str) -> Release:
        marked = release.model_copy(update={"status": status, "message": message})
        self._store.save(self._ref, marked)
        return marked

    def _record_failure(self, release: Release, error: BaseException) -> None:
        try:
            self._mark(release, "failed", in_short(error))
        except TargetError as problem:  # it stays pending, and the next up settles it
            self._tell(Event("warning", f"{problem.message} ({problem.where})"))

    def _key(self, spec: ServiceSpec) -> DefaultKey:
        return DefaultKey(self._store.folder(self._ref), spec, self._environment, self._tell)
