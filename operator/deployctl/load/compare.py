"""Two results of load tests: what differs, how sure that is, and whether it got worse. Pure.

Intervals are of 99%, not 95%: there are about a dozen measures, and one that is wrong by
chance should not stop a pipeline. They cover how the requests of one run differ among
themselves. What differs from one run to the next besides (a warm cache, a neighbour) they
cannot know, so that changes below `FLOOR` are called none.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from deployctl.load import intervals, slo, statistics
from deployctl.load.intervals import Groups, Interval
from deployctl_loadtest.comparison import VERSION, Comparison, Difference, Measure
from deployctl_loadtest.result import Setup
from deployctl_loadtest.sample import Sample

CONFIDENCE = 0.99
FLOOR = 0.01
_SAME_CHUNKS = 1.1  # tokens a chunk, one ÷ the other

# What may differ between two runs of the same test: who answers, and how long it was asked.
_MAY_DIFFER = {
    *("service", "url", "model", "seed", "workers"),
    *("duration_s", "warmup_s", "ramp_s", "requests", "request_timeout_s"),
    *("ca_file", "extra_headers", "prompt_lengths"),
}
# What a result from before a field was there would have held.
_DEFAULTS = {
    field.name: field.default
    for field in dataclasses.fields(Setup)
    if field.default is not dataclasses.MISSING
}


class Run(NamedTuple):
    """One result: its folder, its summary.json and its samples."""

    folder: str
    summary: dict[str, Any]
    samples: Sequence[Sample]


def differences(a: Run, b: Run) -> list[str]:
    """What was asked of one and not of the other, as `users: 4 and 8`."""
    old, new = ({**_DEFAULTS, **run.summary.get("setup", {})} for run in (a, b))
    return [
        f"{name}: {old.get(name)} and {new.get(name)}"
        for name in sorted({*old, *new} - _MAY_DIFFER)
        if old.get(name) != new.get(name)
    ]


def compare(a: Run, b: Run, threshold: float) -> Comparison:
    """Compares `b` with `a`, the one before. `threshold` is a share: 0.05 allows 5% worse."""
    measures = [
        *_latencies(a, b, threshold),
        *_rates(a, b, threshold),
        _errors(a, b, threshold),
    ]
    regressions = [measure.name for measure in measures if measure.regression]
    spoilt = [*_spoilt("A", a), *_spoilt("B", b)]
    return Comparison(
        version=VERSION,
        a=_about(a),
        b=_about(b),
        differences=differences(a, b),
        notes=_notes(a, b),
        spoilt=spoilt,
        threshold=threshold,
        confidence=CONFIDENCE,
        measures=measures,
        regressions=regressions,
        passed=not regressions and not spoilt,
    )


def _about(run: Run) -> dict[str, Any]:
    setup = run.summary.get("setup", {})
    return {
        "folder": run.folder,
        "started": run.summary.get("started"),
        "service": setup.get("service"),
        "model": setup.get("model"),
        "url": setup.get("url"),
        "trustworthy": run.summary.get("trustworthy", False),
    }


def _notes(a: Run, b: Run) -> list[str]:
    old, new = a.summary.get("setup", {}), b.summary.get("setup", {})
    found = [
        f"{name} differs: {old.get(name)} and {new.get(name)}"
        for name in ("model", "duration_s", "warmup_s")
        if old.get(name) != new.get(name)
    ]
    if (other := _other_chunks(a, b)) is not None:
        found.append(other)
    for letter, run in (("A", a), ("B", b)):
        found += [
            f"{letter}: {verdict['text']}"
            for verdict in run.summary.get("verdicts", [])
            if verdict.get("level") == "warning"
        ]
    return found


def _spoilt(letter: str, run: Run) -> list[str]:
    found = [
        f"{letter}: {verdict['text']}"
        for verdict in run.summary.get("verdicts", [])
        if verdict.get("level") == "bad"
    ]
    if run.summary.get("interrupted"):
        found.append(f"{letter}: the run was interrupted")
    return found


def _good(run: Run) -> list[Sample]:
    return [s for s in run.samples if s.outcome == "ok" and not s.warmup]


_GROUPS: dict[str, Callable[[Sample], list[float]]] = {
    "ttft": lambda s: [] if s.ttft_s is None else [s.ttft_s],
    "itl": lambda s: s.chunk_gaps_s,
    "tpot": lambda s: [] if (tpot := s.tpot_s) is None else [tpot],
    "e2e": lambda s: [] if s.e2e_s is None else [s.e2e_s],
}


def _latencies(a: Run, b: Run, threshold: float) -> list[Measure]:
    found = []
    for name, values in _GROUPS.items():
        if name == "itl" and _other_chunks(a, b) is not None:
            continue
        old, new = ([values(s) for s in _good(run)] for run in (a, b))
        pooled = [sorted(value for group in groups for value in group) for groups in (old, new)]
        for share in (0.5, 0.95, 0.99):
            found.append(
                _measure(
                    f"{name}_p{share * 100:g}",
                    "s",
                    "lower",
                    threshold,
                    _percentile(old, pooled[0], share),
                    _percentile(new, pooled[1], share),
                )
            )
    return found


def _other_chunks(a: Run, b: Run) -> str | None:
    """Why gaps between chunks cannot be compared, if they cannot."""
    old, new = ((run.summary.get("tokens") or {}).get("per_chunk") or 1.0 for run in (a, b))
    if 1 / _SAME_CHUNKS <= new / old <= _SAME_CHUNKS:
        return None
    return (
        f"ITL is left out: a chunk holds {old:.2f} tokens in A and {new:.2f} in B, so their gaps "
        "are not of the same thing; TPOT is per token"
    )


class _Estimate(NamedTuple):
    value: float
    interval: Interval
    samples: int


def _percentile(groups: Groups, ordered: list[float], share: float) -> _Estimate | None:
    if not ordered:
        return None
    bounds = intervals.quantile(groups, share, CONFIDENCE, ordered)
    value = statistics.percentile(ordered, share)
    return _Estimate(value, bounds.around(value), len(ordered))


def _rates(a: Run, b: Run, threshold: float) -> list[Measure]:
    """Tokens, requests and, against the same SLO, good requests a second."""
    found = []
    for name, events in (("output_tokens_per_s", _tokens), ("requests_per_s", _completions)):
        old, new = (_rate(run, events(run)) for run in (a, b))
        found.append(_measure(name, "1/s", "higher", threshold, old, new))
    asked = {(run.summary.get("slo") or {}).get("text") for run in (a, b)}
    text = asked.pop()
    if text and not asked:
        level = slo.parse(text)
        old, new = (
            _rate(run, [(s.chunk_times()[-1], 1.0) for s in run.samples if slo.meets(level, s)])
            for run in (a, b)
        )
        found.append(_measure("goodput_per_s", "1/s", "higher", threshold, old, new))
    return found


def _tokens(run: Run) -> list[tuple[float, float]]:
    per_chunk = statistics.tokens_a_chunk(run.samples)
    return [
        (at, statistics.output_tokens(sample, per_chunk) / sample.chunks)
        for sample in run.samples
        for at in sample.chunk_times()
    ]


def _completions(run: Run) -> list[tuple[float, float]]:
    return [(s.chunk_times()[-1], 1.0) for s in run.samples if s.outcome == "ok" and s.chunks]


def _rate(run: Run, events: list[tuple[float, float]]) -> _Estimate | None:
    """Mean and interval over equal pieces of the window, each about two requests long."""
    begin, end = run.summary.get("window_s", (0.0, 0.0))
    whole = sorted(s.e2e_s for s in _good(run) if s.e2e_s is not None)
    if not whole or end - begin <= 0:
        return None
    wanted = max(1.0, 2 * statistics.percentile(whole, 0.5))
    pieces = min(60, max(8, int((end - begin) / wanted)))
    width = (end - begin) / pieces
    totals = [0.0] * pieces
    for at, amount in events:
        if begin <= at < end:
            totals[min(pieces - 1, int((at - begin) / width))] += amount
    rates = [total / width for total in totals]
    bounds = intervals.mean(rates, CONFIDENCE)
    value = math.fsum(rates) / pieces
    return _Estimate(value, Interval(max(0.0, bounds.low), bounds.high), pieces)


def _measure(
    name: str,
    unit: Literal["s", "1/s"],
    better: Literal["lower", "higher"],
    threshold: float,
    old: _Estimate | None,
    new: _Estimate | None,
) -> Measure:
    a, b = (None if each is None else round(each.value, 6) for each in (old, new))
    counts = {
        "a_samples": old.samples if old else 0,
        "b_samples": new.samples if new else 0,
    }
    if old is None or new is None or old.value <= 0 or new.value <= 0:
        return Measure(
            name, unit, better, a, b, None, None, None,
            verdict="no clear difference", regression=False, **counts,
        )  # fmt: skip
    change = new.value / old.value - 1
    low, high = (
        bound - 1 for bound in intervals.ratio(old.value, old.interval, new.value, new.interval)
    )
    verdict = _verdict(change, low, high, better, FLOOR)
    return Measure(
        name, unit, better, a, b, round(change, 6), _finite(low), _finite(high),
        verdict=verdict,
        regression=verdict == "worse" and abs(change) > threshold,
        **counts,
    )  # fmt: skip


def _errors(a: Run, b: Run, threshold: float) -> Measure:
    """The share of requests that failed: its change is absolute, for it is often 0."""
    old, new = (_error_share(run) for run in (a, b))
    if old is None or new is None:
        return Measure(
            "error_rate", "share", "lower", old.value if old else None,
            new.value if new else None, None, None, None,
            old.samples if old else 0, new.samples if new else 0,
            "no clear difference", False,
        )  # fmt: skip
    change = new.value - old.value
    low, high = intervals.difference(old.value, old.interval, new.value, new.interval)
    verdict = _verdict(change, low, high, "lower", 0.0)
    return Measure(
        "error_rate", "share", "lower", round(old.value, 6), round(new.value, 6),
        round(change, 6), _finite(low), _finite(high), old.samples, new.samples, verdict,
        regression=verdict == "worse" and change > threshold * old.value,
    )  # fmt: skip


def _error_share(run: Run) -> _Estimate | None:
    ended = [s for s in run.samples if not s.warmup and s.outcome != "incomplete"]
    if not ended:
        return None
    failed = sum(s.failed for s in ended)
    # As if independent, though failures come in bursts: one outage is worth a look.
    bounds = intervals.exact(failed, len(ended), CONFIDENCE)
    return _Estimate(failed / len(ended), bounds, len(ended))


def _verdict(
    change: float, low: float, high: float, better: Literal["lower", "higher"], floor: float
) -> Difference:
    if low <= 0 <= high or abs(change) < floor:
        return "no clear difference"
    return "better" if (change < 0) == (better == "lower") else "worse"


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
