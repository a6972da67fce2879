"""Row: one service in the last interval, from what was read of its engines before and now. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from deployctl.metrics import Delta, Scrape, Snapshot, doors, snapshot
from deployctl.metrics.doors import KeyUse
from deployctl.metrics.figures import Figures, over
from deployctl.operations.deploy.seen import Health
from deployctl.spec import TargetKind

State = Literal[Health, "asking"]  # asking: nothing is known yet


class Change(NamedTuple):
    """What was done last to a service."""

    revision: int
    status: str  # of that release
    created: str  # ISO 8601, UTC
    reason: str  # "up", "rollback to 3", …
    message: str = ""  # why it failed, or what replaced it


class Row(NamedTuple):
    """A service as it is now. None where nothing is known of it."""

    service: str  # its name; of an address that deployctl did not start, that
    target: TargetKind | None = None
    url: str | None = None
    health: State = "asking"
    detail: str = ""
    revision: int | None = None  # that runs
    change: Change | None = None
    restarts: int = 0  # of its engines by their watchdog
    engines: int = 0  # that answered
    silent: int = 0  # engines that did not
    figures: Figures | None = None
    keys: tuple[KeyUse, ...] = ()  # those that did anything in the interval

    def per_s(self, number: float) -> float | None:
        """A number of the interval as a rate a second."""
        seconds = self.figures.seconds if self.figures else None
        return number / seconds if seconds else None

    @property
    def refusals(self) -> int:
        """In the interval, whoever asked and whatever the reason."""
        return sum(use.refusals for use in self.keys)


def figures_of(
    before: Mapping[str, Scrape], now: Mapping[str, Scrape]
) -> tuple[Figures, tuple[KeyUse, ...]]:
    """What several engines did since they were read before, by their addresses, as one.

    An engine that was not read before counts as it stands, and with what it did from the next
    interval on; one that began anew in between, with all that it did since.
    """
    deltas: list[Delta] = []
    uses: list[KeyUse] = []
    for address, reading in now.items():
        earlier = before.get(address, reading)
        delta = since(earlier.engine, reading.engine)
        deltas.append(delta)
        if reading.door is not None:
            uses += doors.used(None if delta.restarted else earlier.door, reading.door)
    whole = snapshot.together([reading.engine for reading in now.values()])
    return over(snapshot.added(deltas), whole), tuple(doors.together(uses))


def since(earlier: Snapshot, later: Snapshot) -> Delta:
    """What an engine did from one reading to the next; where its process is another one, though no
    counter fell, all that that one did."""
    if earlier.started_unix_s == later.started_unix_s or earlier.started_unix_s is None:
        return snapshot.between(earlier, later)
    nothing: dict[str, Any] = {**dict.fromkeys(Snapshot._fields), "at_s": earlier.at_s}
    return snapshot.between(Snapshot(**nothing), later)._replace(restarted=True)


SORTS: Mapping[str, Callable[[Row], float | str | None]] = {
    "service": lambda row: row.service,
    "running": lambda row: row.figures and row.figures.running,
    "waiting": lambda row: row.figures and row.figures.waiting,
    "requests": lambda row: row.figures and row.figures.requests_per_s,
    "output": lambda row: row.figures and row.figures.generation_tokens_per_s,
    "ttft": lambda row: row.figures and row.figures.ttft_s and row.figures.ttft_s.p95,
    "itl": lambda row: row.figures and row.figures.itl_s and row.figures.itl_s.p95,
    "kv": lambda row: row.figures and row.figures.kv_cache_usage,
    "refused": lambda row: row.refusals,
    "changed": lambda row: row.change and row.change.created,
}


def sorted_by(rows: Iterable[Row], name: str, *, turned: bool = False) -> list[Row]:
    """Rows in the order of one of SORTS: names from A on, figures from the greatest on, and the
    other way round where that is `turned`. Those without the figure come last either way, and those
    that are equal by name."""
    named = sorted(rows, key=lambda row: (row.service, row.target or ""))
    value = SORTS[name]
    known = [row for row in named if value(row) is not None]
    greatest_first = (name != "service") != turned
    ordered = sorted(known, key=value, reverse=greatest_first)  # type: ignore[arg-type]
    return ordered + [row for row in named if value(row) is None]


def busiest(keys: Sequence[KeyUse]) -> list[KeyUse]:
    """Keys by the tokens that were made for them, then by requests and refusals."""
    return sorted(keys, key=lambda use: (-use.output_tokens, -use.requests, -use.refusals, use.key))
