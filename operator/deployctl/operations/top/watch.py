"""Looks at services and reads their engines, each service in a thread of its own: one that is slow
holds up no other, and one that is in trouble is a row that says so.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from deployctl.endpoint import Endpoint
from deployctl.errors import DeployctlError, NotFoundError
from deployctl.metrics import Scrape, read
from deployctl.operations.deploy.seen import Health, unserved
from deployctl.operations.deploy.services import open_store
from deployctl.operations.top.row import Change, Row, figures_of
from deployctl.operations.top.trend import Trend, moment
from deployctl.spec import TargetKind
from deployctl.targets import history, open_driver
from deployctl.targets.store import ServiceRef

READ_S = 5.0  # for one scrape
LOOK_EVERY_S = 10.0  # at records, and at what runs, as long as all answers
# After the time for a scrape and the interval: then a thread hangs in something that has no end.
PATIENCE_S = 15.0


class Look(NamedTuple):
    """What is known of a service without asking its engines."""

    health: Health
    detail: str = ""
    url: str | None = None
    revision: int | None = None
    change: Change | None = None
    restarts: int = 0
    endpoints: tuple[Endpoint, ...] = ()  # of its engines, where they run
    removed: bool = False


class Watcher:
    """Follows one service. `look` and `ask` raise DeployctlError, or tell what they find."""

    def __init__(
        self,
        blank: Row,
        look: Callable[[], Look],
        ask: Callable[[Endpoint], Scrape],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trend = Trend()
        self.steps = 0
        self.removed = False
        self._row, self._at = blank, clock()
        self._blank, self._look_now, self._ask, self._clock = blank, look, ask, clock
        self._look: Look | None = None
        self._looked_at = 0.0
        self._before: dict[str, Scrape] = {}

    def row(self, patience_s: float) -> Row:
        """The newest row; it says so where nothing was heard for longer than `patience_s`."""
        row, quiet_s = self._row, self._clock() - self._at
        if quiet_s <= patience_s:
            return row
        detail = f"nothing was heard of it for {quiet_s:.0f} s"
        return row._replace(health="silent", detail=detail, figures=None, keys=(), engines=0)

    def step(self) -> None:
        """Looks, where it is time to, reads every engine, and makes the row."""
        try:
            self._row = self._made()
        except DeployctlError as error:
            where = f" ({error.where})" if error.where else ""
            self._look = None
            self._row = self._blank._replace(health="unknown", detail=f"{error.message}{where}")
        except Exception as error:  # of one service: the others are shown on
            said = f"a bug in deployctl: {type(error).__name__}: {error}"
            self._row = self._blank._replace(health="unknown", detail=said)
        self._at = self._clock()
        self.trend.add(moment(self._at, self._row))
        self.steps += 1

    def run(self, every_s: float, ended: threading.Event) -> None:
        """Steps until the end."""
        while not ended.is_set():
            begun = self._clock()
            self.step()
            ended.wait(max(0.05, begun + every_s - self._clock()))

    def _made(self) -> Row:
        if self._look is None or self._clock() - self._looked_at >= LOOK_EVERY_S:
            self._look, self._looked_at = self._look_now(), self._clock()
        look = self._look
        self.removed = look.removed
        known = self._blank._replace(
            health=look.health,
            detail=look.detail,
            url=look.url,
            revision=look.revision,
            change=look.change,
            restarts=look.restarts,
        )
        if not look.endpoints:
            if look.health != "stopped":
                self._look = None  # it may come back any moment
            return known
        readings, troubles = _asked(look.endpoints, self._ask)
        if troubles:
            self._look = None
        detail = "; ".join([*filter(None, [look.detail]), *dict.fromkeys(troubles)])
        if not readings:
            health: Health = "starting" if look.health == "starting" else "silent"
            return known._replace(health=health, detail=detail, silent=len(troubles))
        figures, keys = figures_of(self._before, readings)
        there = {endpoint.url for endpoint in look.endpoints}
        before = {at: each for at, each in self._before.items() if at in there}
        self._before = {**before, **readings}  # one that does not answer just now may again
        told = [r.door.engine_restarts or 0 for r in readings.values() if r.door]
        return known._replace(
            health="serving",
            detail=detail,
            restarts=max(look.restarts, sum(told)),
            engines=len(readings),
            silent=len(troubles),
            figures=figures,
            keys=keys,
        )


def _asked(
    endpoints: Sequence[Endpoint], ask: Callable[[Endpoint], Scrape]
) -> tuple[dict[str, Scrape], list[str]]:
    """All of them at once: what they answered, by address, and why others did not."""
    found: dict[str, Scrape | DeployctlError] = {}

    def one(endpoint: Endpoint) -> None:
        try:
            found[endpoint.url] = ask(endpoint)
        except DeployctlError as error:
            found[endpoint.url] = error

    threads = [threading.Thread(target=one, args=(e,), daemon=True) for e in endpoints[1:]]
    for thread in threads:
        thread.start()
    one(endpoints[0])
    for thread in threads:
        thread.join()
    readings = {at: each for at, each in found.items() if isinstance(each, Scrape)}
    return readings, [e.message for e in found.values() if isinstance(e, DeployctlError)]


def look_at(ref: ServiceRef) -> Callable[[], Look]:
    """How a service of ours is looked at; what that needs is opened once, for one thread."""
    settings, store = open_store()
    driver = open_driver(ref.target, settings)

    def look() -> Look:
        releases = store.releases(ref)
        if not releases:
            return Look("stopped", removed=True)
        newest = releases[-1]
        release = history.deployed(releases) or newest
        state = driver.state(release)
        for unfinished in history.pending(releases):
            if (at_work := driver.state(unfinished)).condition != "absent":
                release, state = unfinished, at_work
        change = Change(
            newest.revision, newest.status, newest.created, newest.reason, newest.message
        )
        known = Look(
            "stopped",
            state.detail,
            revision=release.revision,
            change=change,
            restarts=state.restarts.number,
            removed=newest.status == "removed",
        )
        if state.condition == "running":
            starts = release.status == "pending"
            endpoints = tuple(driver.engines(release))
            said = "; ".join(filter(None, [state.detail, state.restarts.detail]))
            first = endpoints[0] if endpoints else None
            return known._replace(
                health="starting" if starts else "serving" if endpoints else "silent",
                detail=said if endpoints else said or "none of its engines is ready",
                url=first and first.shown,
                endpoints=endpoints,
            )
        if release.status == "deployed" or state.condition == "dead":
            health, detail = unserved(state)
            return known._replace(health=health, detail=detail)
        if release.status == "failed":
            return known._replace(detail=release.message)
        return known

    return look


class Board:
    """All that is watched. Services that come later are found, where none was named."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._ended = threading.Event()
        self._named = True
        self._target: TargetKind | None = None
        self._watchers: dict[ServiceRef | str, Watcher] = {}

    def watch(self, names: Sequence[str], target: TargetKind | None) -> None:
        """Watches the services of these names; where there are none, all that there are.

        Raises:
            NotFoundError: there is none, or none of that name.
            InputError: one is on several targets.
            TargetError: a target that may have one cannot be asked.
        """
        if names:
            _, store = open_store()
            self._add(dict.fromkeys(store.find(name, target) for name in names))
            return
        self._named, self._target = False, target
        self._add(_all(target))
        threading.Thread(target=self._find_more, daemon=True).start()

    def watch_address(self, endpoint: Endpoint) -> None:
        """Watches whatever answers at an address."""
        at = endpoint.url
        look = Look("serving", url=at, endpoints=(endpoint,))
        self._start(at, Watcher(Row(at, url=at), lambda: look, _read))

    def seen(self) -> list[tuple[Row, Trend]]:
        """Every service as it was seen last, and before."""
        patience_s = self._every_s + READ_S + PATIENCE_S
        watchers = list(self._watchers.values())
        return [(w.row(patience_s), w.trend) for w in watchers if self._named or not w.removed]

    def wait(self, steps: int) -> None:
        """Waits until each has been seen so many times, but for those that take too long."""
        until = time.monotonic() + (steps - 1) * self._every_s + READ_S + PATIENCE_S
        while any(w.steps < steps for w in list(self._watchers.values())):
            if time.monotonic() >= until:
                return
            time.sleep(0.02)

    def end(self) -> None:
        """Lets the threads end. They end with the program anyway, whatever they wait for."""
        self._ended.set()

    def _find_more(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            try:
                self._add(_all(self._target))
            except DeployctlError:
                continue  # those that are watched say what is wrong

    def _add(self, refs: Iterable[ServiceRef]) -> None:
        for ref in refs:
            if ref not in self._watchers:
                self._start(ref, Watcher(Row(ref.service, ref.target), _later(ref), _read))

    def _start(self, key: ServiceRef | str, watcher: Watcher) -> None:
        self._watchers[key] = watcher
        name = f"top {key}"
        arguments = (self._every_s, self._ended)
        threading.Thread(target=watcher.run, args=arguments, name=name, daemon=True).start()


def _later(ref: ServiceRef) -> Callable[[], Look]:
    """The same as `look_at`, opened by the thread that looks first: a target may be slow."""
    opened: list[Callable[[], Look]] = []

    def look() -> Look:
        if not opened:
            opened.append(look_at(ref))
        return opened[0]()

    return look


def _read(endpoint: Endpoint) -> Scrape:
    return read(endpoint, timeout_s=READ_S)


def _all(target: TargetKind | None) -> list[ServiceRef]:
    """Every service that has a record; never none."""
    _, store = open_store()
    refs = store.services(target)
    refs += [ref for ref in store.others(target) if ref not in refs]
    if not refs:
        raise store.unknown("whether there is a service") or NotFoundError(
            "there is no service", where=str(store.root), hint="start one with deployctl up"
        )
    return refs
