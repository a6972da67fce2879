"""Gateway: the proxy that stands before a host's services, and how each is held and led.

One for all services of a user's state folder, or of a Docker engine. What it knows are files:

    services, upstreams, held, coming    of the services (gatewayrecords)
    caddy.json           made of all services; the proxy is told when it changes, and then alone
    monitor_port         where the proxy tells its health and metrics
    logs                 a line a request that has ended

So an update changes one small file twice, and no connection is touched. Only a service that comes,
goes or wants something else makes the proxy load its configuration anew; requests that are held
then would be turned away, so that waits until none is. That is done by one at a time, under a lock,
which is let go of while others' requests are waited for. How the proxy is run is the target's.
"""

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

from deployctl.errors import TargetError
from deployctl.events import Event, Tell, silent
from deployctl.render import gateway as rendered
from deployctl.render import gatewayrefusals
from deployctl.render.gateway import GatewayEntry
from deployctl.targets import through
from deployctl.targets.gatewayfiles import GatewayFiles
from deployctl.targets.gatewayrecords import MONITOR, GatewayRecords, HeldSince, Knowledge
from deployctl.targets.gatewayturns import GatewayTurns, Turn
from deployctl.targets.proxies import GatewayProxy

CONFIGURATION = "caddy.json"  # that the proxy has, and starts with
NEXT = "next.json"  # that it is to load
_POLL_S = 0.2
_ANSWERS_S = 60.0  # one that hangs is ended and started again in half of that
_ANEW = (
    "the gateway is started anew to listen on {at}: its requests under way have "
    f"{rendered.GRACE_S} s to end, and whoever connects meanwhile is refused"
)


_UNKNOWN = Knowledge()


class Gateway:
    """The gateway of one host."""

    def __init__(
        self,
        files: GatewayFiles,
        proxy: GatewayProxy,
        *,
        known: Knowledge = _UNKNOWN,
        ask: Callable[[GatewayEntry, Path | None], str | None] = through.ask,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`ask` says why no request comes to an engine."""
        self._files = files
        self._records = GatewayRecords(files, known)
        self._proxy = proxy
        self.contained = proxy.contained  # it reaches no engine but those on its own network
        self._ask = ask
        at_work = self.at_work = known.at_work
        self._turns = GatewayTurns(files, self._records, at_work, clock=clock, sleep=sleep)
        self._clock = clock
        self._sleep = sleep
        self.entries, self.entry = self._records.entries, self._records.entry
        self.vacate, self.exposes = self._records.vacate, self._records.exposes
        self.waits, self.monitor_port = self._records.waits, self._records.monitor_port

    def front(self, service: str) -> str | None:
        """Where this machine asks it for a service; None where it is at a domain, or not there."""
        entry = self.entry(service)
        return entry.url if entry is not None and not entry.domain else None

    def preflight(self, wanted: GatewayEntry | None) -> None:
        """Refuses what it cannot serve, before any engine is touched. None: it serves nothing.

        Raises:
            InputError: another service has the port otherwise, or the gateway's monitor has it.
            TargetError: there is no proxy; the port is taken by another program.
        """
        if wanted is None:
            return
        self._proxy.check()
        entries, runs = self.entries(), self._proxy.runs()
        rendered.admitted(wanted, entries)
        if runs and wanted.port == self.monitor_port():
            raise gatewayrefusals.port_of_the_monitor(wanted.port)
        if not any(each.port == wanted.port for each in entries) or not runs:
            self._proxy.check_port(wanted)

    def begin(self, wanted: GatewayEntry | None, tell: Tell = silent) -> None:
        """Before an engine is started: has the proxy run where it is reached by that alone, ready
        for the service; where its requests wait, for these would be cut, `admit` does the latter.
        None: it is not behind it. Nothing more is served than before.

        Raises:
            TargetError: it does not start.
        """
        if wanted is None or (self._proxy.ready_for(wanted) and not self._proxy.contained):
            return
        former = self.entry(wanted.service)
        if former is not None and self._serves_on(former, wanted):
            return
        turn = Turn(wanted.service, tell)
        self._turns.take(turn, partial(self._begin, wanted, turn))

    def _serves_on(self, former: GatewayEntry, wanted: GatewayEntry) -> bool:
        ready = self._proxy.ready_for(wanted)
        return ready or (self._proxy.runs() and self._records.holds(former))

    def _begin(self, wanted: GatewayEntry, turn: Turn) -> None:
        entries = self.entries()
        if all(each.service != wanted.service for each in entries):
            self._records.comes(wanted.service)  # from now on nobody ends the proxy
        if not self._proxy.ready_for(wanted):
            self._apply(entries, turn, to_come=[wanted])

    def admit(self, wanted: GatewayEntry, *addresses: str, tell: Tell = silent) -> GatewayEntry:
        """Has it lead the service's requests to the engines at `addresses` (`127.0.0.1:8000`), one
        for each that the entry has; starts the proxy where it does not run.

        Raises:
            InputError: another service has the port otherwise.
            TargetError: the proxy does not start or takes no such configuration: it has what it
                had before.
        """
        former = self.entry(wanted.service)
        if former is not None and former.exposed and not wanted.exposed:
            return self._take_in(wanted, former, addresses, tell)
        was_held = former is not None and self._records.holds(former)
        # First: others may wait for these.
        for entry in filter(None, (wanted, former)):
            self._records.lead(entry, *addresses)
        turn = Turn(wanted.service, tell, let_go=was_held)
        return self._turns.take(turn, partial(self._admit, wanted, former, turn))

    def _take_in(
        self, wanted: GatewayEntry, former: GatewayEntry, addresses: Sequence[str], tell: Tell
    ) -> GatewayEntry:
        """Of a service that is exposed no more: its engines may ask for no key, and get requests
        only once none comes from outside. Those that did lead nowhere, so that nobody waits until
        they go on: two that do this at once, for each other."""
        for entry in (former, wanted):
            self._records.lead(entry, rendered.NOBODY)
        turn = Turn(wanted.service, tell)
        entry = self._turns.take(turn, partial(self._admit, wanted, former, turn))
        self._records.lead(entry, *addresses)
        return entry

    def _admit(self, wanted: GatewayEntry, former: GatewayEntry | None, turn: Turn) -> GatewayEntry:
        others = self._records.others(wanted.service)
        entry = rendered.admitted(wanted, others)
        self._records.put(wanted.service, entry)
        try:
            self._apply([*others, entry], turn)
        except BaseException:
            self._records.put(wanted.service, former)
            raise
        self._records.forget(wanted.service, keep=entry.upstreams)
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
        if entry is not None:
            self._records.hold(entry, replicas)
        return entry is not None

    def hold_all(self, services: Sequence[str], tell: Tell = silent) -> None:
        """Has requests for these wait, and the proxy run before any engine does: after a restart of
        the machine another program may have an engine's port. Whoever calls has the lock of each.

        Raises:
            TargetError: the proxy does not start.
        """
        before = [service for service in services if self.hold(service)]
        if before:
            turn = Turn(before[0], tell, also=before[1:])
            self._turns.take(turn, lambda: self._apply(self.entries(), turn))

    def held(self, service: str) -> HeldSince | None:
        """Since when a service's requests wait; None where they do not."""
        entry = self.entry(service)
        since = None if entry is None else self._records.held_since(entry)
        return None if since is None else HeldSince(since, not self.at_work(service))

    def lead(self, service: str, *addresses: str) -> None:
        """Leads the requests of a service to its engines, those that wait among them.

        Raises:
            StateError: it cannot be written.
        """
        if (entry := self.entry(service)) is not None:
            self._records.lead(entry, *addresses)

    def leave(
        self, service: str, tell: Tell = silent, *, to: Sequence[str] = ()
    ) -> list[str] | None:
        """Serves it no more, requests that wait once they have gone `to` these addresses; returns
        the services that are left, None where it was not served.

        Raises:
            TargetError: the proxy takes no such configuration.
        """
        if (entry := self.entry(service)) is None:
            self._records.arrived(service)
            return None
        let_go = bool(to) and self._records.holds(entry)
        if let_go:
            self._records.lead(entry, *to)
        turn = Turn(service, tell, let_go=let_go)
        return self._turns.take(turn, partial(self._leave, turn))

    def _leave(self, turn: Turn) -> list[str]:
        left = self._records.others(turn.service)
        try:
            # First: where it fails, the next one tries again.
            self._apply(left, turn)
        except TargetError:
            if left:  # else it is to be ended
                raise
        self._records.put(turn.service, None)
        self._records.forget(turn.service)
        return [each.service for each in left]

    def end_unused(self, service: str, tell: Tell = silent) -> bool:
        """Ends the proxy where it stands before nothing, and no other than `service` is to come;
        whether it did."""
        if self.entry(service) is None:
            self._records.arrived(service)
        if not self._proxy.runs() or self.entries():
            return False  # with no lock
        turn = Turn(service, tell)
        return self._turns.take(turn, partial(self._end, turn))

    def _end(self, turn: Turn) -> bool:
        if self.entries() or self._records.coming():
            return False
        self._turns.refuse_others(turn)
        self._proxy.end()
        return True

    def close(self, tell: Tell = silent) -> None:
        """Ends the proxy, once its requests under way have ended; what it serves stays on record.

        Raises:
            TargetError: something of it still runs.
        """
        if self._proxy.runs():
            self._turns.take(Turn("", tell), self._proxy.end)

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

    def _apply(
        self, entries: list[GatewayEntry], turn: Turn, *, to_come: Sequence[GatewayEntry] = ()
    ) -> None:
        """Brings the proxy to serve these and no others, ready for those that are to come."""
        # A port has one address of the host: what the one that comes had there is over.
        coming = {(each.service, each.port) for each in to_come}
        known = [*(e for e in entries if (e.service, e.port) not in coming), *to_come]
        runs, contained = self._proxy.runs(), self._proxy.contained
        if not runs and not known:
            return
        self.vacate(turn.tell)
        port = self._monitor_at({each.port for each in known}, runs=runs)
        configuration = rendered.configuration(entries, monitor_port=port, contained=contained)
        ready = all(self._proxy.ready_for(each) for each in known)
        former = self._files.read(CONFIGURATION)
        if runs:
            loaded = None if self._files.read(NEXT) else former
            if loaded == configuration and ready:
                return
            self._turns.await_waiting(turn)
            if not ready:
                at = ", ".join(sorted({f"{each.host}:{each.port}" for each in known}))
                turn.tell(Event("warning", _ANEW.format(at=at)))
        self._turns.refuse_others(turn)
        # Where one is there already, somebody was stopped meanwhile: which is loaded nobody knows.
        self._files.write(NEXT if runs else CONFIGURATION, configuration)
        self._proxy.apply(known, port)
        if runs:
            self._files.move(NEXT, CONFIGURATION)

    def _monitor_at(self, but: Collection[int], *, runs: bool) -> int:
        """The monitor's port; where the proxy is yet to be started, one that nobody has."""
        former = self.monitor_port()
        if former is not None and runs:
            return former
        port = self._proxy.free_port(former, but)
        if port != former:
            self._files.write(MONITOR, str(port))
        return port
