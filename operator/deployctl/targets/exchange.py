"""Puts the engines of one release in the place of another's: all at once; behind a gateway, of
several replicas, one after the other, while the others serve; or one beside the other, which serves
until then, where there is room for both.
"""

from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import NamedTuple

from deployctl.errors import InputError
from deployctl.events import Event, Tell
from deployctl.render import gateway
from deployctl.render.bundle import CARDS_VARIABLE
from deployctl.targets import resume
from deployctl.targets.driver import Driver
from deployctl.targets.front import Front
from deployctl.targets.history import Release, replicas
from deployctl.targets.readiness import Tools


class Step(NamedTuple):
    """Engines that are stopped, and those that are started in their place."""

    out: list[Release]
    into: list[Release]


def rolls(old: Release, new: Release) -> bool:
    """Whether replicas of `new` can take the places of those of `old` one by one: one has several,
    and each has the port and the cards that the former had. The gateway exposes both or none: what
    is to be exposed has keys, and what is not may let everybody in.
    """
    entries = gateway.entry_of(old.bundle), gateway.entry_of(new.bundle)
    several = any(entry is not None and entry.replicas > 1 for entry in entries)
    alike = _place(old) == _place(new) and _exposed(old) == _exposed(new)
    return None not in entries and several and alike


def _hindrance(old: Release, new: Release) -> str | None:
    """Why one cannot come up beside the other, whatever room there is; None where it can: each is
    one engine, and both are behind the gateway, which exposes both or none."""
    for each in (new, old):
        if gateway.entry_of(each.bundle) is None:
            return f"revision {each.revision} is behind no gateway"
    if _exposed(old) != _exposed(new):
        return f"the gateway exposes revision {(new if _exposed(new) else old).revision} alone"
    several = len(replicas(old)) > 1 or len(replicas(new)) > 1
    return "its replicas are not started beside others" if several else None


def _place(release: Release) -> tuple[object, ...]:
    cards = release.plan.engine.env.get(CARDS_VARIABLE)
    return release.spec.port, release.plan.world_size, release.plan.accelerator, cards


def _exposed(release: Release) -> bool | None:
    """How the gateway listens for it; None where it does not."""
    entry = gateway.entry_of(release.bundle)
    return None if entry is None else entry.exposed


def steps(old: Release, new: Release) -> Iterator[Step]:
    """What comes first adds engines, what comes last takes some away."""
    there, wanted = replicas(old), replicas(new)
    if more := wanted[len(there) :]:
        yield Step([], more)
    for one, other in zip(there, wanted, strict=False):
        yield Step([one], [other])
    if less := there[len(wanted) :]:
        yield Step(less, [])


class Took(NamedTuple):
    """When the first engine was started and the last one answered, by the clock."""

    started: float
    answered: float
    served: bool  # by others, meanwhile


class Exchange:
    """Exchanges the engines of one service on one target."""

    def __init__(self, driver: Driver, front: Front, tell: Tell, tools: Tools) -> None:
        self._driver = driver
        self._front = front
        self._tell = tell
        self._tools = tools
        self.beside = False  # the engine comes up beside the former
        self._told: list[tuple[int, int | None]] = []  # to end: engines, by revision and replica

    def choose(self, old: Release | None, new: Release) -> None:
        """Decides whether `new` comes up beside `old`; says so, and why not where it does not.

        Raises:
            InputError: it is to, and is not made for that.
            TargetError: it is to, and has no room.
        """
        may, self.beside = self._tools.beside, False
        if old is None or may is None or self._driver.replaces:
            return
        hindrance = _hindrance(old, new)
        if hindrance is not None and not may.asked:
            return
        state = self._driver.state(old)
        if state.condition != "running":
            return
        if hindrance is not None:
            self._refuse(old, new, hindrance)
            return
        if self._driver.state(new).condition == "running":  # of a deployctl that was killed
            self.beside = True
            return
        room = may.room(old, state, new)
        self.beside, name = room.free, f"revision {new.revision}"
        if room.free:
            serves = f"revision {old.revision}, which serves until then"
            self._tell(Event("note", f"{name} comes up beside {serves} ({room.why})"))
        else:
            wait = f"requests wait until {name} answers"
            self._tell(Event("note", f"one engine at a time ({room.why}): {wait}"))

    def _refuse(self, old: Release, new: Release, hindrance: str) -> None:
        """One that was asked to come up beside `old`, which serves. Replicas that take each other's
        places do what it was asked for."""
        if rolls(old, new):
            others = "--beside yes: replicas take each other's places while the others serve"
            self._tell(Event("note", others))
            return
        raise InputError(
            f"revision {new.revision} cannot come up beside revision {old.revision}: {hindrance}",
            where="--beside yes",
            hint=f"leave it out: revision {old.revision} is stopped first",
        )

    def rolls(self, old: Release | None, new: Release) -> bool:
        """Whether the engines of `old` are replaced one by one, for others serve meanwhile."""
        if old is None or self._driver.replaces or not rolls(old, new):
            return False
        return any(self._driver.state(each).condition == "running" for each in (old, new))

    def run(
        self,
        old: Release | None,
        new: Release,
        *,
        stop: Callable[[Release], None],
        ready: Callable[[Release | None], None],
    ) -> Took:
        """Starts `new` in the place of `old`, unless the target replaces that by itself; returns
        once all of it answers. `stop` ends an engine, `ready` is called before one is started,
        with the release of those that serve meanwhile. What came up `beside` leaves `old` to be
        stopped.

        Raises:
            EngineError: one of `new` does not come up; what of `old` was stopped is.
            TargetError: something does not end, or the gateway cannot be told.
        """
        if old is not None and self.rolls(old, new):
            one_after_the_other = f"replacing revision {old.revision}, one replica after the other"
            self._tell(Event("note", one_after_the_other))
            started = self._tools.clock()
            ready(old)
            self._one_by_one(old, new, stop)
            return Took(started, self._tools.clock(), served=True)
        if old is not None and self.beside:
            took = self._come_up(new, ready, serves=old)
            at = self._driver.endpoint(new).own
            self._tell(Event("note", f"requests go to revision {new.revision} now, at {at}"))
            return took
        if old is not None and not self._driver.replaces:
            if self._driver.state(old).condition == "running":
                self._tell(Event("note", f"stopping revision {old.revision}"))
            if _exposed(old) == _exposed(new):  # else the former engine would be, too
                self._front.begin(new)  # first: where it is started anew, it drops what is held
            self._front.hold()
            self._front.foretell(new)
            stop(old)
        return self._come_up(new, ready, serves=None)

    def restore(
        self, old: Release, undone: Release | None, *, stop: Callable[[Release], None], wait: bool
    ) -> None:
        """Starts `old` anew. Where `undone` began to take its place one by one, what was not
        replaced stays as it is. With `wait`, each answers before the next is replaced.

        Raises:
            As `run`.
        """
        if undone is None:
            tools = self._tools
            resume.start(self._driver, self._front, old, self._tell, tools, wait=wait)
            return
        try:
            for each in replicas(old):
                if (each.revision, each.replica) in self._told and not self._all([each], "absent"):
                    self._driver.stop(each, self._tell)  # it is half-way down
            for step in self._steps(undone, old):
                if not (self._all(step.into, "running") and self._all(step.out, "absent")):
                    self._change(step, undone, old, stop, wait=wait)
        finally:  # one that is late may come yet; until it listens, requests wait
            self._front.lead(old, answers=False, engines=self._there(undone, old))

    def _steps(self, old: Release, new: Release) -> list[Step]:
        """First where none runs that would be stopped: the others may be all that serves."""
        return sorted(steps(old, new), key=lambda step: self._any(step.out, "running"))

    def _come_up(
        self, new: Release, ready: Callable[[Release | None], None], *, serves: Release | None
    ) -> Took:
        """Starts all of `new` and leads requests there; `serves` does meanwhile, and runs on."""
        started = self._tools.clock()
        ready(serves)
        parts = self._driver, self._front, [new], self._tell, self._tools
        resume.bring_up(*parts, wait=True, serves=serves)
        answered = self._tools.clock()
        self._front.lead(new)
        return Took(started, answered, served=serves is not None)

    def _start(self, engines: list[Release], *, wait: bool) -> None:
        resume.bring_up(self._driver, self._front, engines, self._tell, self._tools, wait=wait)

    def _one_by_one(self, old: Release, new: Release, stop: Callable[[Release], None]) -> None:
        for number, step in enumerate(self._steps(old, new)):
            if number:
                self._tools.sleep(gateway.SEEN_S)  # the one before gets requests again
            self._change(step, old, new, stop, wait=True)

    def _change(
        self, step: Step, old: Release, new: Release, stop: Callable[[Release], None], *, wait: bool
    ) -> None:
        for each in step.into or step.out:
            which = "replacing" if step.out and step.into else "adding" if step.into else "ending"
            self._tell(Event("phase", f"{which} replica {each.replica or 0}"))
        if step.into:
            self._front.spare(step.out)
        for each in step.out:
            self._told.append((each.revision, each.replica))
            stop(each)
        self._start(step.into, wait=wait)
        self._front.lead(new, answers=wait, engines=self._there(old, new))

    def _there(self, old: Release, new: Release) -> list[Release]:
        """The engine in each place of `new`: that of `old`, which may have another port, as long as
        none has followed it."""
        both = zip_longest(replicas(old), replicas(new))
        return [
            one if one is not None and self._all([other], "absent") else other
            for one, other in both
            if other is not None
        ]

    def _all(self, engines: list[Release], condition: str) -> bool:
        return all(self._driver.state(each).condition == condition for each in engines)

    def _any(self, engines: list[Release], condition: str) -> bool:
        return any(self._driver.state(each).condition == condition for each in engines)
