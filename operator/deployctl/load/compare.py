"""Two results of load tests: what differs, how sure that is, and whether it got worse. Pure.

Intervals (see `estimates`) cover how the requests of one run differ among themselves. What
differs from one run to the next besides (a warm cache, a neighbour) they cannot know, so that
changes below `FLOOR` are called none.
"""

import dataclasses
import math
from typing import Any, Literal

from deployctl.load import estimates, intervals, slo
from deployctl.load.estimates import CONFIDENCE, Estimate, Run
from deployctl_loadtest.comparison import VERSION, Comparison, Difference, Measure
from deployctl_loadtest.result import Setup

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


def _latencies(a: Run, b: Run, threshold: float) -> list[Measure]:
    found = []
    for name in estimates.LATENCIES:
        if name == "itl" and _other_chunks(a, b) is not None:
            continue
        pairs = zip(estimates.latencies(a, name), estimates.latencies(b, name), strict=True)
        for share, (old, new) in zip(estimates.SHARES, pairs, strict=True):
            label = f"{name}_p{share * 100:g}"
            found.append(_measure(label, "s", "lower", threshold, old, new))
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


def _rates(a: Run, b: Run, threshold: float) -> list[Measure]:
    """Tokens, requests and, against the same SLO, good requests a second."""
    found = []
    for name, rate in (
        ("output_tokens_per_s", estimates.output_tokens),
        ("requests_per_s", estimates.requests),
    ):
        found.append(_measure(name, "1/s", "higher", threshold, rate(a), rate(b)))
    asked = {(run.summary.get("slo") or {}).get("text") for run in (a, b)}
    text = asked.pop()
    if text and not asked:
        level = slo.parse(text)
        old, new = (estimates.goodput(run, level) for run in (a, b))
        found.append(_measure("goodput_per_s", "1/s", "higher", threshold, old, new))
    return found


def _measure(
    name: str,
    unit: Literal["s", "1/s"],
    better: Literal["lower", "higher"],
    threshold: float,
    old: Estimate | None,
    new: Estimate | None,
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
    old, new = (estimates.errors(run) for run in (a, b))
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


def _verdict(
    change: float, low: float, high: float, better: Literal["lower", "higher"], floor: float
) -> Difference:
    if low <= 0 <= high or abs(change) < floor:
        return "no clear difference"
    return "better" if (change < 0) == (better == "lower") else "worse"


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
