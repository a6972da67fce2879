"""Undoes what an `up` or a `rollback` began: ends what did not come up, or was not kept, and has
what served before it serve again.
"""

from collections.abc import Callable
from typing import NamedTuple

from deployctl.errors import DeployctlError, TargetError
from deployctl.events import Event, Tell
from deployctl.targets import drain, removal
from deployctl.targets.defaultkey import DefaultKey
from deployctl.targets.driver import Driver
from deployctl.targets.exchange import Exchange
from deployctl.targets.front import Front
from deployctl.targets.history import Release
from deployctl.targets.readiness import Tools
from deployctl.units import duration


class Undone(NamedTuple):
    """How it went, for a person."""

    notes: list[str]
    gap_s: float | None = None  # in which nothing answered, where that is over


class Undo:
    """Undoes changes of one service on one target."""

    def __init__(
        self, driver: Driver, front: Front, exchange: Exchange, tell: Tell, tools: Tools
    ) -> None:
        self._driver = driver
        self._front = front
        self._exchange = exchange
        self._tell = tell
        self._tools = tools

    def run(
        self,
        release: Release,
        previous: Release | None,
        key: DefaultKey,
        *,
        wait: bool,
        begun: float,
        failed: Callable[[], None],
    ) -> Undone:
        """Ends `release` and brings `previous` back, with `wait` until it answers. `begun`: since
        when nothing answers, by the clock. `failed` is called once nothing of `release` runs; one
        that does not end stays unfinished, and the next who changes the service ends it.
        """
        if previous is not None and self._serves_on(previous):
            return Undone(self._leave(previous, release, key, wait=wait, failed=failed))
        notes: list[str] = []
        undone = release if self._exchange.rolls(previous, release) else None
        if undone is None:
            self._front.take_back(previous)
        if undone is None and (previous is None or not self._driver.replaces):
            notes += self._stop(release, wait=wait)
        if undone is None and not notes:
            failed()
        gap: float | None = None
        if previous is not None:
            said, gap = self._restore(previous, undone, key, wait=wait, begun=begun)
            notes.append(said)
        if undone is not None and self._gone(release):  # until then some of it runs
            failed()
        elif undone is not None:
            left = f"some of revision {release.revision} is left"
            notes.append(f"{left}; deployctl up or down {release.service} ends it")
        removal.in_spite_of(self._front.end, self._tell)  # it may run for this release alone
        return Undone(notes, gap)

    def _gone(self, release: Release) -> bool:
        """Whether nothing is left of it; not where nobody can say."""
        try:
            return self._driver.state(release).condition == "absent"
        except TargetError:
            return False

    def _serves_on(self, previous: Release) -> bool:
        """Whether it was to until the end, and still does."""
        return self._exchange.beside and self._driver.state(previous).condition == "running"

    def _leave(
        self,
        previous: Release,
        release: Release,
        key: DefaultKey,
        *,
        wait: bool,
        failed: Callable[[], None],
    ) -> list[str]:
        """Leaves `previous` alone, and nothing of `release`."""

        def back() -> None:
            if previous.spec.needs_api_key:
                key.restore()
                self._driver.publish_keys(previous)
            self._front.lead(previous, answers=False)

        removal.in_spite_of(back, self._tell)
        notes = self._stop(release, wait=wait)
        if not notes:
            failed()
        served = f"revision {previous.revision} served all the while"
        return [*notes, f"{served}; with --beside no it is stopped first"]

    def _stop(self, release: Release, *, wait: bool) -> list[str]:
        self._tell(Event("note", f"stopping revision {release.revision}"))
        try:
            self._how(wait=wait)(release)
        except TargetError as problem:
            return [f"{problem.message}; deployctl down {release.service} tries again"]
        return []

    def _how(self, *, wait: bool) -> Callable[[Release], None]:
        """How an engine is stopped: whoever presses Ctrl-C wants it to end."""
        if wait:
            return lambda each: drain.stop(self._driver, each, self._tell, self._tools)
        return lambda each: self._driver.stop(each, self._tell)

    def _restore(
        self, old: Release, undone: Release | None, key: DefaultKey, *, wait: bool, begun: float
    ) -> tuple[str, float | None]:
        """Brings `old` back, one by one in the place of what there is of `undone`; says how, and
        for how long nothing answered."""
        number = old.revision
        try:
            if old.spec.needs_api_key:
                key.restore()
                if undone is not None:
                    self._driver.publish_keys(old)
            self._tell(Event("note", f"restoring revision {number}"))
            self._exchange.restore(old, undone, stop=self._how(wait=wait), wait=wait)
        except DeployctlError as problem:
            return f"and revision {number} could not be restored: {problem.message}", None
        if not wait:
            return f"revision {number} is starting again; deployctl status {old.service}", None
        if self._driver.replaces or undone:
            return f"revision {number} serves again", None
        gap = self._tools.clock() - begun
        silence = f"after {duration(gap)} in which nothing answered"
        return f"revision {number} serves again, {silence}", gap
