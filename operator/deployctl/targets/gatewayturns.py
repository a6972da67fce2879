"""GatewayTurns: one deployctl at a time tells a gateway's proxy what is new, under a lock, and lets
go of that to wait for requests that would be turned away by it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from deployctl.errors import LockedError
from deployctl.events import Event, Tell
from deployctl.render import gateway as rendered
from deployctl.targets.gatewayfiles import GatewayFiles
from deployctl.targets.gatewayrecords import GatewayRecords
from deployctl.targets.holder import Check

_LET_GO_S = 2 * rendered.TRY_S  # for those that were held to reach the engine
_POLL_S = 0.2
_Answer = TypeVar("_Answer")


@dataclass
class Turn:
    """What one deployctl changes for one service, and what it has waited for by now."""

    service: str
    tell: Tell
    let_go: bool = False  # its own requests were held until now
    until: float | None = None  # when it waits for nobody else's any more, by the clock
    also: Collection[str] = ()  # services that are changed by it, too
    still_ours: Check = lambda: None


class _LaterError(Exception):
    """It can be changed once others have been waited for, with no lock."""


class GatewayTurns:
    """Who may change one gateway. `at_work` says of a service whether a deployctl changes it."""

    def __init__(
        self,
        files: GatewayFiles,
        records: GatewayRecords,
        at_work: Callable[[str], bool],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._files = files
        self._records = records
        self._at_work = at_work
        self._clock = clock
        self._sleep = sleep

    def take(self, turn: Turn, change: Callable[[], _Answer]) -> _Answer:
        """Changes it under the lock, from the beginning each time that it had to wait."""
        while True:
            try:
                with self._files.locked(turn.tell) as turn.still_ours:
                    return change()
            except _LaterError:
                self._wait(turn)

    def await_waiting(self, turn: Turn) -> None:
        """Before the proxy loads a configuration: those who wait with the former one would be
        turned away. Ends a turn that has to wait for them."""
        if turn.let_go or self._held_by_others(turn):
            raise _LaterError

    def refuse_others(self, turn: Turn) -> None:
        """Ends a turn whose lock was lost: while this machine slept, others may have changed what
        it has read."""
        try:
            turn.still_ours()
        except LockedError as error:
            raise _LaterError from error

    def _wait(self, turn: Turn) -> None:
        if turn.let_go:
            several = any(each.replicas > 1 for each in self._records.entries())
            self._sleep(_LET_GO_S + rendered.SEEN_S * several)
            turn.let_go = False
        if turn.until is None:
            longest_s = max((each.hold_s for each in self._records.entries()), default=0)
            turn.until = self._clock() + longest_s
        if names := self._held_by_others(turn):
            said = f"waiting until the gateway holds no request for {', '.join(names)}"
            turn.tell(Event("note", said))
        while self._held_by_others(turn):
            self._sleep(_POLL_S)

    def _held_by_others(self, turn: Turn) -> list[str]:
        """The services whose requests wait and are to be waited for: not the one that changes, who
        would wait for himself; and not for ever. Those of one that was held by a deployctl that
        was killed wait in vain anyway."""
        if turn.until is not None and self._clock() >= turn.until:
            return []
        ours = {turn.service, *turn.also}
        others = [each for each in self._records.entries() if each.service not in ours]
        held = [each.service for each in others if self._records.holds(each)]
        return [service for service in held if self._at_work(service)]
