"""What a door counted, by key: one scrape of it, and what came between two. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from deployctl.errors import TargetError
from deployctl.metrics.snapshot import families_of, number_of
from deployctl_loadtest.foreign import message

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

_REQUESTS, _TOKENS = "deployctl_door_requests", "deployctl_door_tokens"
_REFUSALS, _RESTARTS = "deployctl_door_refusals", "deployctl_engine_restarts"
_READ = (_REQUESTS, _TOKENS, _REFUSALS, _RESTARTS)
_OURS = ("/metrics", "/health", "/ping", "/version")  # who watches is no user

Name = TypeVar("Name")


class DoorCounts(NamedTuple):
    """A door's counters since its engine's start."""

    requests: Mapping[str, float]  # answers by key, whatever their status
    failed: Mapping[str, float]  # of these, with a status of 500 or above
    input: Mapping[str, float]  # tokens by key
    output: Mapping[str, float]
    refused: Mapping[tuple[str, str], float]  # requests that did not reach the engine: key, reason
    engine_restarts: int | None = None  # by the watchdog; None where none is told of


class KeyUse(NamedTuple):
    """What one key did in an interval: numbers of requests and of tokens."""

    key: str
    requests: int = 0
    failed: int = 0  # with a status of 500 or above
    input_tokens: int = 0
    output_tokens: int = 0
    refused: Mapping[str, int] = {}  # by reason

    @property
    def refusals(self) -> int:
        """For whatever reason."""
        return sum(self.refused.values())


def parse(text: str) -> DoorCounts | None:
    """Reads what a door writes behind its engine's metrics; None where it wrote nothing.

    Raises:
        TargetError: it is no exposition.
    """
    try:
        families = families_of(text, _READ)
        if not families:
            return None
        every = [sample for family in families.values() for sample in family.samples]
        samples = {name: [s for s in every if s.name == f"{name}_total"] for name in _READ}
        users = [s for s in samples[_REQUESTS] if s.labels.get("route") not in _OURS]
        failed = [s for s in users if s.labels.get("status", "").startswith("5")]
        restarts = [round(number_of(s)) for s in samples[_RESTARTS]]
        refused: dict[tuple[str, str], float] = {}
        for s in samples[_REFUSALS]:
            refused[s.labels["key"], s.labels["reason"]] = number_of(s)
        return DoorCounts(
            requests=_by_key(users),
            failed=_by_key(failed),
            input=_by_key(s for s in samples[_TOKENS] if s.labels["direction"] == "input"),
            output=_by_key(s for s in samples[_TOKENS] if s.labels["direction"] == "output"),
            refused=refused,
            engine_restarts=sum(restarts) if restarts else None,
        )
    except (ValueError, OverflowError, LookupError, TypeError, AttributeError) as error:
        raise TargetError(
            f"what the door counted cannot be read: {message(str(error))}",
            hint="is this the address of an engine that deployctl started?",
        ) from error


def used(earlier: DoorCounts | None, later: DoorCounts) -> list[KeyUse]:
    """What came between, by key, in the keys' order; `earlier` is None after a restart: then all
    of it is new. Keys that did nothing are left out.

    A counter that fell without a restart is another process's of the same engine: that one has
    nothing to compare with, and counts as 0.
    """

    def more(name: str) -> dict[str, int]:
        return _more(getattr(earlier, name) if earlier else {}, getattr(later, name))

    requests, failed, taken, given = map(more, ("requests", "failed", "input", "output"))
    refused: dict[str, dict[str, int]] = {}
    for (key, reason), number in _more(earlier.refused if earlier else {}, later.refused).items():
        refused.setdefault(key, {})[reason] = number
    return [
        KeyUse(
            key,
            requests.get(key, 0),
            failed.get(key, 0),
            taken.get(key, 0),
            given.get(key, 0),
            refused.get(key, {}),
        )
        for key in sorted({*requests, *taken, *given, *refused})
    ]


def together(uses: Iterable[KeyUse]) -> list[KeyUse]:
    """Those of several doors, added up by key, in the keys' order."""
    found: dict[str, KeyUse] = {}
    for use in uses:
        before = found.get(use.key, KeyUse(use.key))
        found[use.key] = KeyUse(
            use.key,
            before.requests + use.requests,
            before.failed + use.failed,
            before.input_tokens + use.input_tokens,
            before.output_tokens + use.output_tokens,
            dict(Counter(before.refused) + Counter(use.refused)),
        )
    return [found[key] for key in sorted(found)]


def _by_key(samples: "Iterable[Sample]") -> dict[str, float]:
    total: dict[str, float] = {}
    for sample in samples:
        key = sample.labels["key"]
        total[key] = total.get(key, 0.0) + number_of(sample)
    return total


def _more(before: Mapping[Name, float], after: Mapping[Name, float]) -> dict[Name, int]:
    grown = {name: round(value - before.get(name, 0.0)) for name, value in after.items()}
    return {name: number for name, number in grown.items() if number > 0}
