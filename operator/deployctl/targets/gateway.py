"""Gateway: the services that a host's proxy stands before, and how each is held and led.

One for all services of a user's state folder, or of a Docker engine. What it knows are files:

    services/NAME.json   what a service wants of it (render.gateway.GatewayEntry)
    upstreams/NAME       the address of its engine; the proxy reads it at each attempt to dial
    upstreams/NAME.0 …   those of a service with several
    held/NAME            since when its requests are held
    caddy.json           made of all services; the proxy is told when it changes, and then alone
    access.log           a line a request that has ended

So an update changes one small file twice, and no connection is touched. Only a service that comes,
goes or wants something else makes the proxy load its configuration anew; requests that are held
then would be turned away, so that waits until none is. How the proxy is run is the target's.
"""

import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from deployctl import host
from deployctl.errors import StateError, TargetError
from deployctl.render import gateway as rendered
from deployctl.render.gateway import GatewayEntry
from deployctl.targets import through
from deployctl.targets.gatewayfiles import GatewayFiles
from deployctl.targets.proxies import GatewayProxy
from deployctl.targets.waits import Waits, waits_of

CONFIGURATION = "caddy.json"  # that the proxy has, and starts with
NEXT = "next.json"  # that it is to load
_SERVICES, _HELD, _MONITOR = "services", "held", "monitor_port"
_LET_GO_S = 2 * rendered.TRY_S  # for those that were held to reach the engine
_POLL_S = 0.2
_ANSWERS_S = 60.0  # one that hangs is ended and started again in half of that
_MOST_LOG = 64 << 20  # bytes of an access log that are read


class HeldSince(NamedTuple):
    """A service's requests wait in the gateway."""

    since: str  # ISO 8601, UTC
    left: bool  # by a deployctl that was killed: nobody is about to let them go


class Changes(NamedTuple):
    """What a target knows of its services, by their names."""

    at_work: Callable[[str], bool] = lambda service: True  # a deployctl changes it now
    gone: Callable[[str], bool] = lambda service: False  # there is no such service any more


_UNKNOWN = Changes()


class Gateway:
    """The gateway of one host."""

    def __init__(
        self,
        files: GatewayFiles,
        proxy: GatewayProxy,
        *,
        changes: Changes = _UNKNOWN,
        ask: Callable[[GatewayEntry, Path | None], str | None] = through.ask,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`ask` says why no request comes to an engine."""
        self._files = files
        self._proxy = proxy
        self._ask = ask
        self._changes = changes
        self._clock = clock
        self._sleep = sleep

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

    def preflight(self, wanted: GatewayEntry | None) -> None:
        """Refuses what it cannot serve, before any engine is touched. None: it serves nothing.

        Raises:
            InputError: another service has the port otherwise.
            TargetError: there is no proxy; the port is taken by another program.
        """
        if wanted is None:
            return
        self._proxy.check()
        entries = self.entries()
        rendered.admitted(wanted, entries)
        if not any(each.port == wanted.port for each in entries) or not self._proxy.runs():
            self._proxy.check_port(wanted)

    def begin(self, wanted: GatewayEntry | None) -> None:
        """Before an engine is started: has the proxy run where it is reached by that alone. None:
        it is not behind it. Nothing more is served than before.

        Raises:
            TargetError: it does not start.
        """
        if wanted is not None and not self._proxy.ready_for(wanted):
            with self._files.locked():
                self._apply(self.entries(), wanted.service, let_go=False, to_come=[wanted])

    def admit(self, wanted: GatewayEntry, *addresses: str) -> GatewayEntry:
        """Has it lead the service's requests to the engines at `addresses` (`127.0.0.1:8000`), one
        for each that the entry has; starts the proxy where it does not run.

        Raises:
            InputError: another service has the port otherwise.
            TargetError: the proxy does not start or takes no such configuration: it has what it
                had before.
        """
        former = self.entry(wanted.service)
        was_held = former is not None and self._holds(former)
        # First: whoever has the lock may wait for it.
        for entry in filter(None, (wanted, former)):
            self._lead(entry, *addresses)
        with self._files.locked():
            others = self._others(wanted.service)
            entry = rendered.admitted(wanted, others)
            self._files.write(_record(wanted.service), entry.model_dump_json(indent=1))
            try:
                self._apply([*others, entry], wanted.service, let_go=was_held)
            except BaseException:
                if former is None:
                    self._files.remove(_record(wanted.service))
                else:
                    self._files.write(_record(wanted.service), former.model_dump_json(indent=1))
                raise
            self._forget(wanted.service, keep=entry.upstreams)
            return entry

    def await_answer(self, entry: GatewayEntry) -> None:
        """Returns once a request comes to the service's engine, which answers.

        Raises:
            TargetError: none does.
        """
        deadline = self._clock() + _ANSWERS_S
        while (said := self._ask(entry, self.ca_file(entry.service))) is not None:
            if self._clock() > deadline:
                raise TargetError(
                    f"the engine answers, and not through the gateway: {said}",
                    where=f"{entry.url}/health",
                    hint=f"its log says more: {self._files.where('engine.log')}",
                )
            self._sleep(_POLL_S)

    def hold(self, service: str, replicas: Collection[int] | None = None) -> bool:
        """Has the service's new requests wait; False where it does not stand before it. Where
        `replicas` of several are named, none goes to these, and the others take them.

        Raises:
            StateError: it cannot be written.
        """
        entry = self.entry(service)
        if entry is None:
            return False
        if replicas is None and not self._holds(entry):
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._files.write(f"{_HELD}/{service}", now)
        for number, name in enumerate(entry.upstreams):
            if replicas is None or number in replicas:
                self._files.write(_upstream(name), rendered.HELD)
        return True

    def held(self, service: str) -> HeldSince | None:
        """Since when a service's requests wait; None where they do not."""
        entry, since = self.entry(service), self._files.read(f"{_HELD}/{service}")
        if entry is None or since is None or not self._holds(entry):
            return None
        return HeldSince(since, not self._changes.at_work(service))

    def lead(self, service: str, *addresses: str) -> None:
        """Leads the requests of a service to its engines, those that wait among them.

        Raises:
            StateError: it cannot be written.
        """
        if (entry := self.entry(service)) is not None:
            self._lead(entry, *addresses)

    def leave(self, service: str) -> list[str] | None:
        """Serves it no more; returns the services that are left, None where it was not served.

        Raises:
            TargetError: the proxy takes no such configuration.
        """
        if self.entry(service) is None:
            return None
        with self._files.locked():
            left = self._others(service)
            try:
                # First: where it fails, the next one tries again.
                self._apply(left, service, let_go=False)
            except TargetError:
                if left:  # else it is to be ended
                    raise
            self._files.remove(_record(service))
            self._forget(service)
            return [each.service for each in left]

    def end_unused(self) -> bool:
        """Ends the proxy where it stands before nothing; whether it did."""
        if not self._proxy.runs() or self.entries():
            return False  # with no lock, which others may have for long
        with self._files.locked():
            if self.entries() or self._proxy.leads_others():
                return False
            self._proxy.end()
            return True

    def waits(self, service: str, since: float) -> Waits:
        """What its requests waited that have ended after `since`, in seconds since the epoch."""
        return waits_of(service, since, self._files.tail(rendered.ACCESS_LOG, _MOST_LOG))

    def problem(self, service: str) -> str:
        """Why requests for a service do not get through it; empty where they do, or where it does
        not stand before that."""
        return "" if self.entry(service) is None else self.trouble()

    def trouble(self) -> str:
        """What is wrong with it, where it has services; empty where it answers."""
        if not self._proxy.runs():
            return "the gateway before it does not run"
        answers = self._proxy.answers(self.monitor_port() or 0)
        return "" if answers else "the gateway before it does not answer"

    def ca_file(self, service: str) -> Path | None:
        """What verifies a service's certificate, where the gateway's own authority signs it."""
        entry = self.entry(service)
        if entry is None or entry.tls != "internal":
            return None
        return self._files.here(rendered.ROOT_CERTIFICATE)

    def monitor_port(self) -> int | None:
        """The port of loopback on which the proxy tells its health and metrics."""
        try:
            return int(self._files.read(_MONITOR) or "")
        except ValueError:
            return None

    def _apply(
        self,
        entries: list[GatewayEntry],
        changed: str,
        *,
        let_go: bool,
        to_come: Sequence[GatewayEntry] = (),
    ) -> None:
        """Brings the proxy to serve these and no others, ready for those that are to come. The
        service that is `changed` may be held by whoever changes it, who would wait for himself."""
        runs, port = self._proxy.runs(), self.monitor_port()
        # A port has one address of the host: what the one that comes had there is over.
        coming = {(each.service, each.port) for each in to_come}
        known = [*(e for e in entries if (e.service, e.port) not in coming), *to_come]
        if not runs and not known:
            return
        if port is None or (not runs and host.port_error(port)):
            usual = rendered.MONITOR_PORT  # as it is rendered for people
            taken = not self._proxy.contained or host.port_error(usual)
            port = host.free_port() if taken else usual
            self._files.write(_MONITOR, str(port))
        contained = self._proxy.contained
        configuration = rendered.configuration(entries, monitor_port=port, contained=contained)
        if not runs:
            self._files.write(CONFIGURATION, configuration)
            self._proxy.apply(known, port)
            return
        same = self._files.read(NEXT) is None and self._files.read(CONFIGURATION) == configuration
        if same and all(self._proxy.ready_for(each) for each in known):
            return
        if let_go:
            self._sleep(_LET_GO_S + rendered.SEEN_S * any(e.replicas > 1 for e in entries))
        self._await_nobody_held(max((each.hold_s for each in entries), default=0), but=changed)
        # Where one is there already, somebody was stopped meanwhile: which is loaded nobody knows.
        self._files.write(NEXT, configuration)
        self._proxy.apply(known, port)
        self._files.move(NEXT, CONFIGURATION)

    def _await_nobody_held(self, most_s: float, *, but: str) -> None:
        """Those who wait with the former configuration would be turned away. One that was held by a
        deployctl that was killed waits in vain anyway."""
        deadline = self._clock() + most_s
        while self._clock() < deadline and any(
            each.service != but and self._holds(each) and self._changes.at_work(each.service)
            for each in self.entries()
        ):
            self._sleep(_POLL_S)

    def _others(self, service: str) -> list[GatewayEntry]:
        """The other services; those that are gone are forgotten."""
        others = []
        for each in self.entries():
            if each.service != service and self._changes.gone(each.service):
                self._files.remove(_record(each.service))
                self._forget(each.service)
            elif each.service != service:
                others.append(each)
        return others

    def _holds(self, entry: GatewayEntry) -> bool:
        """Whether all of a service's requests wait."""
        read = self._files.read
        return {read(_upstream(name)) for name in entry.upstreams} == {rendered.HELD}

    def _lead(self, entry: GatewayEntry, *addresses: str) -> None:
        for number, name in enumerate(entry.upstreams):
            self._files.write(_upstream(name), addresses[number % len(addresses)])

    def _forget(self, service: str, *, keep: Collection[str] = ()) -> None:
        """Removes the addresses of engines that it has no more, and since when it was held."""
        self._files.remove(f"{_HELD}/{service}")
        for name in self._files.below(rendered.UPSTREAMS):
            if name.partition(".")[0] == service and name not in keep:
                self._files.remove(_upstream(name))


def _record(service: str) -> str:
    return f"{_SERVICES}/{service}.json"


def _upstream(name: str) -> str:
    return f"{rendered.UPSTREAMS}/{name}"
