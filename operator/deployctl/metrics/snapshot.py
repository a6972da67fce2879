"""Snapshot: one scrape, typed. Delta: what happened between two. Histogram: one of theirs. Pure."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from deployctl.errors import TargetError
from deployctl.metrics import names
from deployctl_loadtest.foreign import KIB, MAX_METRICS_LINE, message

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.samples import Sample


_ABOUT = ("# HELP ", "# TYPE ")
_HIGHEST = 1e15  # tokens in a million years; floats count up to there one by one


@dataclasses.dataclass(frozen=True, slots=True)
class Histogram:
    """Buckets are (upper bound in seconds, count at or below), ascending, +Inf last."""

    buckets: tuple[tuple[float, float], ...]
    sum: float
    count: float

    def mean(self) -> float | None:
        """In seconds; None if nothing was observed."""
        return self.sum / self.count if self.count >= 1 else None

    def quantile(self, share: float) -> float | None:
        """As PromQL's `histogram_quantile`: linear within the bucket that the rank falls in,
        from 0 in the lowest, and the highest finite bound if it falls in +Inf."""
        if self.count <= 0 or len(self.buckets) < 2:
            return None
        rank = share * self.buckets[-1][1]
        index = next(
            (i for i, (_, count) in enumerate(self.buckets[:-1]) if count >= rank),
            len(self.buckets) - 1,
        )
        upper, count = self.buckets[index]
        if math.isinf(upper):
            return self.buckets[-2][0]
        if index == 0 and upper <= 0:
            return upper
        lower, before = self.buckets[index - 1] if index else (0.0, 0.0)
        inside = count - before
        if inside <= 0:
            return upper
        return lower + (upper - lower) * (rank - before) / inside

    def since(self, earlier: "Histogram | None") -> "Histogram":
        """What was observed after `earlier`. A counter that fell was reset: all of it is new."""
        if earlier is None or earlier.count > self.count:
            return self
        before = dict(earlier.buckets)
        return Histogram(
            buckets=tuple((bound, n - before.get(bound, 0.0)) for bound, n in self.buckets),
            sum=self.sum - earlier.sum,
            count=self.count - earlier.count,
        )


class Snapshot(NamedTuple):
    """The engine's counters at one moment. None where this version does not export it.

    Gauges are summed over engines, KV cache use is their mean. Counters are since the
    engine's start.
    """

    at_s: float  # of a monotonic clock
    started_unix_s: float | None  # when the server's process began
    running: int | None
    waiting: int | None
    kv_cache_usage: float | None  # share of 1
    prompt_tokens: float | None
    generation_tokens: float | None
    requests: float | None  # that ended well
    preemptions: float | None
    prefix_queries: float | None  # tokens looked up
    prefix_hits: float | None
    ttft: Histogram | None
    itl: Histogram | None
    e2e: Histogram | None
    queue: Histogram | None
    answers: float | None = None  # HTTP answers of the API
    errors: float | None = None  # of these, with a status of 500 or above

    @property
    def prefix_hit_rate(self) -> float | None:
        """Share of prompt tokens found in the prefix cache since the engine's start."""
        return _share(self.prefix_hits, self.prefix_queries)


# Any that falls says that all began anew: one may have passed its former height by then.
_COUNTERS = (
    *("prompt_tokens", "generation_tokens", "requests"),
    *("preemptions", "prefix_queries", "prefix_hits"),
)


class Delta(NamedTuple):
    """What happened between two scrapes. Rates are a second; None where nothing is known."""

    seconds: float
    restarted: bool  # the counters fell: they began anew in between
    prompt_tokens: float | None
    generation_tokens: float | None
    requests: float | None
    preemptions: float | None
    prefix_queries: float | None  # tokens looked up
    prefix_hits: float | None
    ttft: Histogram | None
    itl: Histogram | None
    e2e: Histogram | None
    queue: Histogram | None

    @property
    def prefix_hit_rate(self) -> float | None:
        """Share of prompt tokens found in the prefix cache meanwhile."""
        return _share(self.prefix_hits, self.prefix_queries)

    def rate(self, amount: float | None) -> float | None:
        """An amount as a rate a second."""
        return amount / self.seconds if amount is not None and self.seconds > 0 else None


def parse(text: str, at_s: float) -> Snapshot:
    """Reads an exposition as vLLM writes it.

    Raises:
        TargetError: it is no exposition, or holds nothing of vLLM's.
    """
    try:
        families = families_of(text, names.READ)
        if any(name.startswith("vllm:") for name in families):
            return _snapshot(families, at_s)
    except (ValueError, OverflowError, LookupError, TypeError, AttributeError) as error:
        raise TargetError(
            f"what /metrics answers cannot be read: {message(str(error))}",
            hint="is this the address of a vLLM server?",
        ) from error
    raise TargetError(
        "/metrics holds no vllm: metrics",
        hint="is this the address of a vLLM server, started without --disable-log-stats?",
    )


def families_of(text: str, wanted: tuple[str, ...]) -> "dict[str, Metric]":
    """The metrics of an exposition whose names begin as one of those that are wanted, by name.

    Raises:
        ValueError: it is none, or one of its lines is longer than the parser should be given.
        OverflowError, LookupError, TypeError, AttributeError: the parser's, of what is none.
    """
    from prometheus_client.parser import text_string_to_metric_families

    read = "\n".join(_wanted(text, wanted))
    return {family.name: family for family in text_string_to_metric_families(read)}


def _wanted(text: str, wanted: tuple[str, ...]) -> Iterator[str]:
    """The lines that are read, and what is said of their types.

    Raises:
        ValueError: one is longer than the parser should be given.
    """
    for line in text.split("\n"):
        named = line[2:].partition(" ")[2] if line.startswith(_ABOUT) else line
        if named.startswith(wanted):
            if len(line) > MAX_METRICS_LINE:
                raise ValueError(f"a line is longer than {MAX_METRICS_LINE // KIB} KiB")
            yield line


def _snapshot(families: "Mapping[str, Metric]", at_s: float) -> Snapshot:
    def values(wanted: tuple[str, ...]) -> list[float] | None:
        for name in wanted:
            # prometheus-client strips _total of counters; an untyped series keeps it.
            for key in (name, f"{name}_total"):
                samples = families[key].samples if key in families else []
                exported = [number_of(s) for s in samples if s.name in (key, f"{name}_total")]
                if exported:
                    return exported
        return None

    def total(wanted: tuple[str, ...]) -> float | None:
        exported = values(wanted)
        return None if exported is None else sum(exported)

    def histogram(wanted: tuple[str, ...]) -> Histogram | None:
        name = next((name for name in wanted if name in families), None)
        return None if name is None else _merged(list(_series(name, families[name].samples)))

    usage = values(names.KV_CACHE_USAGE)
    return Snapshot(
        at_s=at_s,
        started_unix_s=max(values(names.STARTED) or (), default=None),
        running=_whole(total(names.RUNNING)),
        waiting=_whole(total(names.WAITING)),
        kv_cache_usage=sum(usage) / len(usage) if usage else None,
        prompt_tokens=total(names.PROMPT_TOKENS),
        generation_tokens=total(names.GENERATION_TOKENS),
        requests=total(names.SUCCESSES),
        preemptions=total(names.PREEMPTIONS),
        prefix_queries=total(names.PREFIX_QUERIES),
        prefix_hits=total(names.PREFIX_HITS),
        ttft=histogram(names.TTFT),
        itl=histogram(names.ITL),
        e2e=histogram(names.E2E),
        queue=histogram(names.QUEUE),
        **_http(families[names.HTTP].samples if names.HTTP in families else ()),
    )


def together(snapshots: Sequence[Snapshot]) -> Snapshot:
    """Several engines' as one: sums, of the KV cache's use the mean, and the latest start."""
    return Snapshot(**{name: _as_one(name, snapshots) for name in Snapshot._fields})


def added(deltas: Sequence[Delta]) -> Delta:
    """Several engines' as one, over the longest of their times: sums."""
    return Delta(**{name: _as_one(name, deltas) for name in Delta._fields})


def _as_one(name: str, several: Sequence[Snapshot] | Sequence[Delta]) -> Any:
    found = [each for one in several if (each := getattr(one, name)) is not None]
    if not found:
        return None
    if isinstance(found[0], Histogram):
        return _merged(found)
    if name in ("at_s", "started_unix_s", "seconds", "restarted"):
        return max(found)
    return sum(found) / len(found) if name == "kv_cache_usage" else sum(found)


def _http(samples: "Iterable[Sample]") -> dict[str, float]:
    """Answers and errors of /v1; a client's own mistakes (4xx) are no errors of the server."""
    own = [s for s in samples if s.name == f"{names.HTTP}_total"]
    asked = [s for s in own if s.labels.get("handler", "").startswith("/v1/")]
    if not asked:
        return {}
    failed = [number_of(s) for s in asked if s.labels.get("status", "").startswith("5")]
    return {"answers": sum(number_of(s) for s in asked), "errors": sum(failed)}


def between(earlier: Snapshot, later: Snapshot) -> Delta:
    """What happened from one scrape to the next; after a restart, what happened since it."""
    restarted = any(_fell(getattr(earlier, name), getattr(later, name)) for name in _COUNTERS)

    def more(before: float | None, after: float | None) -> float | None:
        if after is None:
            return None
        return after if restarted or before is None else after - before

    def observed(before: Histogram | None, after: Histogram | None) -> Histogram | None:
        return None if after is None else after.since(None if restarted else before)

    return Delta(
        seconds=later.at_s - earlier.at_s,
        restarted=restarted,
        prompt_tokens=more(earlier.prompt_tokens, later.prompt_tokens),
        generation_tokens=more(earlier.generation_tokens, later.generation_tokens),
        requests=more(earlier.requests, later.requests),
        preemptions=more(earlier.preemptions, later.preemptions),
        prefix_queries=more(earlier.prefix_queries, later.prefix_queries),
        prefix_hits=more(earlier.prefix_hits, later.prefix_hits),
        ttft=observed(earlier.ttft, later.ttft),
        itl=observed(earlier.itl, later.itl),
        e2e=observed(earlier.e2e, later.e2e),
        queue=observed(earlier.queue, later.queue),
    )


def _series(name: str, samples: "Iterable[Sample]") -> Iterator[Histogram]:
    """One histogram for each set of labels."""
    groups: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        key = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
        groups.setdefault(key, []).append(sample)
    for group in groups.values():
        buckets = {_bound(s): number_of(s) for s in group if s.name == f"{name}_bucket"}
        single = {s.name: number_of(s) for s in group if "le" not in s.labels}
        yield Histogram(
            buckets=tuple(sorted(buckets.items())),
            sum=single.get(f"{name}_sum", 0.0),
            count=single.get(f"{name}_count", 0.0),
        )


def _merged(parts: list[Histogram]) -> Histogram | None:
    """Adds up the series of several engines. None if there are none."""
    if not parts:
        return None
    totals: dict[float, float] = {}
    for part in parts:
        for bound, count in part.buckets:
            totals[bound] = totals.get(bound, 0.0) + count
    return Histogram(
        buckets=tuple(sorted(totals.items())),
        sum=math.fsum(part.sum for part in parts),
        count=sum(part.count for part in parts),
    )


def number_of(sample: "Sample") -> float:
    """A value as an engine counts: NaN and 1e300 are none."""
    if not abs(sample.value) <= _HIGHEST:
        raise ValueError(f"{sample.name} is {sample.value}")
    return sample.value


def _bound(sample: "Sample") -> float:
    bound = float(sample.labels["le"])
    if math.isnan(bound):
        raise ValueError(f"{sample.name} has a bucket up to NaN")
    return bound


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _fell(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and after < before
