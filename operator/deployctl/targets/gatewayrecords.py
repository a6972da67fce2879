"""GatewayRecords: what a gateway's files say of its services, by their names.

    services/NAME.json   what a service wants of it (render.gateway.GatewayEntry)
    upstreams/NAME       the address of its engine; the proxy reads it at each attempt to dial
    upstreams/NAME.0 …   those of a service with several; of one that is exposed NAME.exposed
    held/NAME            since when its requests are held
    coming/NAME          its first engine is about to be asked by the proxy

Whoever changes those of one service has that service's lock, and needs no other; but where it has
died, and another is to listen in its place.
"""

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import NamedTuple

from deployctl.errors import StateError, TargetError
from deployctl.events import Event, Tell, silent
from deployctl.render import gateway as rendered
from deployctl.render.gateway import GatewayEntry
from deployctl.targets.gatewayfiles import GatewayFiles
from deployctl.targets.waits import Waits, waits_of

MONITOR = "monitor_port"
_SERVICES, _HELD, _COMING = "services", "held", "coming"


class Knowledge(NamedTuple):
    """What a target knows of its services, by their names."""

    at_work: Callable[[str], bool] = lambda service: True  # a deployctl changes it now
    gone: Callable[[str], bool] = lambda service: False  # there is no such service any more
    # Where its engines are, None where that is unknown; none: nobody else comes to have the address
    # of one that died.
    engines: Callable[[str], Collection[str] | None] | None = None


class HeldSince(NamedTuple):
    """A service's requests wait in the gateway."""

    since: str  # ISO 8601, UTC
    left: bool  # by a deployctl that was killed: nobody is about to let them go


class GatewayRecords:
    """The services that a gateway stands before, how each is led, and those that are to come."""

    def __init__(self, files: GatewayFiles, known: Knowledge) -> None:
        self._files = files
        self._gone, self._engines = known.gone, known.engines

    def entries(self) -> list[GatewayEntry]:
        """The services that it stands before.

        Raises:
            StateError: a record cannot be read.
        """
        found = []
        for name, text in sorted(self._files.below(_SERVICES).items()):
            try:
                found.append(GatewayEntry.model_validate_json(text))
            except ValueError as error:
                raise StateError(
                    "a record of the gateway cannot be read",
                    where=self._files.where(f"{_SERVICES}/{name}"),
                    hint="remove it; deployctl up of that service writes it anew",
                ) from error
        return found

    def entry(self, service: str) -> GatewayEntry | None:
        """The service's entry; None where the gateway does not stand before it."""
        return next((each for each in self.entries() if each.service == service), None)

    def exposes(self, service: str) -> bool:
        """Whether it listens for a service on every interface."""
        return (entry := self.entry(service)) is not None and entry.exposed

    def others(self, service: str) -> list[GatewayEntry]:
        """The other services; those that are gone are forgotten."""
        others = []
        for each in self.entries():
            if each.service != service and self._gone(each.service):
                self.put(each.service, None)
                self.forget(each.service)
            elif each.service != service:
                others.append(each)
        return others

    def put(self, service: str, entry: GatewayEntry | None) -> None:
        """Makes this the entry of a service; None: it has none."""
        path = f"{_SERVICES}/{service}.json"
        if entry is None:
            self._files.remove(path)
        else:
            self._files.write(path, entry.model_dump_json(indent=1))

    def forget(self, service: str, *, keep: Collection[str] = ()) -> None:
        """Removes the addresses of engines that it has no more, and since when it was held."""
        self._files.remove(f"{_HELD}/{service}")
        self.arrived(service)
        for name in self._files.below(rendered.UPSTREAMS):
            if name.partition(".")[0] == service and name not in keep:
                self._files.remove(_upstream(name))

    def lead(self, entry: GatewayEntry, *addresses: str) -> None:
        """Leads its requests to these, those that wait among them."""
        for number, name in enumerate(entry.upstreams):
            self._lead(name, addresses[number % len(addresses)])

    def _lead(self, name: str, address: str) -> None:
        self._files.write(_upstream(name), address)

    def vacate(self, tell: Tell = silent) -> None:
        """Has requests wait that are led where no engine of their service is any more, and says so:
        another program may have that address, or be about to.

        Raises:
            StateError: a record cannot be read, or written.
        """
        engines = self._engines
        if engines is None:
            return
        for each in self.entries():
            for name in each.upstreams:
                there = {self._files.read(_upstream(name))} - {None, rendered.HELD, rendered.NOBODY}
                # Asked afterwards: whoever leads to a new one at this moment has started it.
                living = engines(each.service) if there else None
                if living is not None and (left := there - {*living}):
                    self._lead(name, rendered.NOBODY)
                    ended = f"its engine at {left.pop()} has ended"
                    tell(Event("warning", f"requests for {each.service} wait: {ended}"))

    def hold(self, entry: GatewayEntry, replicas: Collection[int] | None) -> None:
        """Has its new requests wait; with `replicas`, none goes to these of its engines."""
        if replicas is None and not self.holds(entry):
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._files.write(f"{_HELD}/{entry.service}", now)
        for number, name in enumerate(entry.upstreams):
            if replicas is None or number in replicas:
                self._lead(name, rendered.HELD)

    def holds(self, entry: GatewayEntry) -> bool:
        """Whether all of a service's requests wait."""
        read = self._files.read
        return {read(_upstream(name)) for name in entry.upstreams} == {rendered.HELD}

    def held_since(self, entry: GatewayEntry) -> str | None:
        """Since when all of them wait, as it was written; None where they do not."""
        since = self._files.read(f"{_HELD}/{entry.service}")
        return since if since is not None and self.holds(entry) else None

    def comes(self, service: str) -> None:
        """Notes that its first engine will be asked by the proxy."""
        self._files.write(f"{_COMING}/{service}", "")

    def arrived(self, service: str) -> None:
        """Notes that it has an entry now, or is not to come any more. Where that was not noted
        nothing is written: there may be no gateway to write for."""
        if self._files.read(f"{_COMING}/{service}") is not None:
            self._files.remove(f"{_COMING}/{service}")

    def coming(self) -> list[str]:
        """The services that are to come, and are not gone meanwhile."""
        return [name for name in sorted(self._files.below(_COMING)) if not self._gone(name)]

    def waits(self, service: str, since: float) -> Waits:
        """What its requests waited that have ended after `since`, in seconds since the epoch."""
        try:
            logs = self._files.below(rendered.LOGS)
        except TargetError:
            logs = {}
        return waits_of(service, since, *logs.values())

    def monitor_port(self) -> int | None:
        """The port of loopback on which the proxy tells its health and metrics."""
        try:
            return int(self._files.read(MONITOR) or "")
        except ValueError:
            return None


def _upstream(name: str) -> str:
    return f"{rendered.UPSTREAMS}/{name}"
