"""Two sides of load tests: what differs, how sure that is, and whether it got worse. Pure.

A side is one run or several of the same test. `estimates` has what one run says, and how two
sides differ. What differs from one run to the next is known only where a side has
several; so changes below `FLOOR` are called none.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from deployctl.load import estimates, slo
from deployctl.load.estimates import CONFIDENCE, RunEstimate
from deployctl.load.folder import SavedRun
from deployctl_loadtest.comparison import VERSION, Comparison, Difference, Measure
from deployctl_loadtest.result import Setup

FLOOR = 0.01
_SAME_CHUNKS = 1.1  # tokens a chunk, one ÷ the other

# What may differ between two runs of the same test: who answers, and how long it was asked.
_MAY_DIFFER = {
    *("service", "url", "model", "seed", "workers", "worker_image"),
    *("duration_s", "warmup_s", "ramp_s", "requests", "request_timeout_s"),
    *("ca_file", "extra_headers", "prompt_lengths", "recorded_lengths"),
}
# Of these, what is told all the same.
_TOLD = ("model", "duration_s", "warmup_s")
# What a result from before a field was there would have held.
_DEFAULTS = {
    field.name: field.default
    for field in dataclasses.fields(Setup)
    if field.default is not dataclasses.MISSING
}


class Side(NamedTuple):
    """`A` or `B`: its runs, and what was given for it."""

    letter: str
    given: str
    runs: Sequence[SavedRun]

    def labelled(self) -> list[tuple[str, SavedRun]]:
        """The runs with what they are called: A, or A1, A2, …"""
        if len(self.runs) == 1:
            return [(self.letter, self.runs[0])]
        return [(f"{self.letter}{number}", run) for number, run in enumerate(self.runs, 1)]


def differences(a: Side, b: Side) -> list[str]:
    """What was asked of one run and not of another, as `users: 4 and 8`."""
    asked = {key for side in (a, b) for run in side.runs for key in run.summary.get("setup", {})}
    return _unlike(a, b, sorted({*_DEFAULTS, *asked} - _MAY_DIFFER))


def _unlike(a: Side, b: Side, names: Sequence[str]) -> list[str]:
    several = len(a.runs) + len(b.runs) > 2
    runs = [*a.labelled(), *b.labelled()]
    different = []
    for name in names:
        values: list[Any] = []
        told: list[str] = []
        for label, run in runs:
            value = run.summary.get("setup", {}).get(name, _DEFAULTS.get(name))
            if value not in values:
                values.append(value)
                told.append(f"{value} ({label})" if several else f"{value}")
        if len(told) > 1:
            different.append(f"{name}: {' and '.join(told)}")
    return different


def compare(a: Side, b: Side, threshold: float) -> Comparison:
    """Compares `b` with `a`, the one before. `threshold` is a share: 0.05 allows 5% worse."""
    measures = [*_latencies(a, b, threshold), *_rates(a, b, threshold), _errors(a, b, threshold)]
    regressions = [measure.name for measure in measures if measure.regression]
    spoilt = [*_spoilt(a), *_spoilt(b)]
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


def _about(side: Side) -> dict[str, Any]:
    setup = side.runs[0].summary.get("setup", {})
    runs = [
        {
            "folder": run.folder,
            "started": run.summary.get("started"),
            "trustworthy": run.summary.get("trustworthy", False),
        }
        for run in side.runs
    ]
    return {
        "folder": side.given,
        "started": runs[0]["started"],
        "service": setup.get("service"),
        "model": setup.get("model"),
        "url": setup.get("url"),
        "trustworthy": all(run["trustworthy"] for run in runs),
        "runs": runs,
    }


def _notes(a: Side, b: Side) -> list[str]:
    notes = [text.replace(":", " differs:", 1) for text in _unlike(a, b, _TOLD)]
    if (other := _other_chunks(a, b)) is not None:
        notes.append(other)
    if len(a.runs) == len(b.runs) == 1:
        notes.append(
            "one run a side: the intervals do not include how much repeated runs differ; give "
            "several a side (A1,A2,A3 B1,B2,B3)"
        )
    for side in (a, b):
        notes += _verdicts(side, "warning")
    return notes


def _spoilt(side: Side) -> list[str]:
    reasons = _verdicts(side, "bad")
    for label, run in side.labelled():
        if run.summary.get("interrupted"):
            reasons.append(f"{label}: the run was interrupted")
    return reasons


def _verdicts(side: Side, level: str) -> list[str]:
    return [
        f"{label}: {verdict['text']}"
        for label, run in side.labelled()
        for verdict in run.summary.get("verdicts", [])
        if verdict.get("level") == level
    ]


def _latencies(a: Side, b: Side, threshold: float) -> list[Measure]:
    measures = []
    for name in estimates.LATENCIES:
        if name == "itl" and _other_chunks(a, b) is not None:
            continue
        old, new = ([estimates.latencies(r, name) for r in side.runs] for side in (a, b))
        for index, share in enumerate(estimates.SHARES):
            label = f"{name}_p{share * 100:g}"
            before, after = ([one[index] for one in side] for side in (old, new))
            measures.append(_measure(label, "s", "lower", threshold, before, after))
    return measures


def _other_chunks(a: Side, b: Side) -> str | None:
    """Why gaps between chunks cannot be compared, if they cannot."""
    old, new = (
        [(run.summary.get("tokens") or {}).get("per_chunk") or 1.0 for run in side.runs]
        for side in (a, b)
    )
    if max(*old, *new) / min(*old, *new) <= _SAME_CHUNKS:
        return None
    before, after = (sum(side) / len(side) for side in (old, new))
    return (
        f"ITL is left out: a chunk holds {before:.2f} tokens in A and {after:.2f} in B, so their "
        "gaps are not of the same thing; TPOT is per token"
    )


def _rates(a: Side, b: Side, threshold: float) -> list[Measure]:
    """Tokens, requests and, against the same SLO, good requests a second."""
    measures = []
    for name, rate in (
        ("output_tokens_per_s", estimates.output_tokens),
        ("requests_per_s", estimates.requests),
    ):
        old, new = ([rate(run) for run in side.runs] for side in (a, b))
        measures.append(_measure(name, "1/s", "higher", threshold, old, new))
    runs = [*a.runs, *b.runs]
    asked = {(run.summary.get("slo") or {}).get("text") for run in runs}
    text = asked.pop()
    if text and not asked:
        level = slo.parse(text)
        old, new = ([estimates.goodput(run, level) for run in side.runs] for side in (a, b))
        measures.append(_measure("goodput_per_s", "1/s", "higher", threshold, old, new))
    return measures


def _measure(
    name: str,
    unit: Literal["s", "1/s", "share"],
    better: Literal["lower", "higher"],
    threshold: float,
    before: Sequence[RunEstimate | None],
    after: Sequence[RunEstimate | None],
) -> Measure:
    """The two sides' runs of one measure, those that have it."""
    old, new = ([each for each in side if each is not None] for side in (before, after))
    contrast: estimates.Contrast | None = None
    if old and new:
        contrast = estimates.shares(old, new) if unit == "share" else estimates.ratio(old, new)
    verdict: Difference = "no clear difference"
    regression = False
    if contrast is not None:
        floor = 0.0 if unit == "share" else FLOOR
        verdict = _verdict(contrast.change, contrast.low, contrast.high, better, floor)
        allowed = threshold * contrast.a if unit == "share" else threshold
        regression = verdict == "worse" and abs(contrast.change) > allowed
    return Measure(
        name=name,
        unit=unit,
        better=better,
        a=round(contrast.a, 6) if contrast else _plain_mean(old),
        b=round(contrast.b, 6) if contrast else _plain_mean(new),
        change=round(contrast.change, 6) if contrast else None,
        low=_finite(contrast.low) if contrast else None,
        high=_finite(contrast.high) if contrast else None,
        a_samples=sum(each.samples for each in old),
        b_samples=sum(each.samples for each in new),
        a_runs=[round(each.value, 6) for each in old],
        b_runs=[round(each.value, 6) for each in new],
        between_runs=None
        if contrast is None or contrast.between is None
        else round(contrast.between, 6),
        verdict=verdict,
        regression=regression,
    )


def _errors(a: Side, b: Side, threshold: float) -> Measure:
    """The share of requests that failed: its change is absolute, for it is often 0."""
    old, new = ([estimates.errors(run) for run in side.runs] for side in (a, b))
    return _measure("error_rate", "share", "lower", threshold, old, new)


def _plain_mean(side: Sequence[RunEstimate]) -> float | None:
    return round(sum(each.value for each in side) / len(side), 6) if side else None


def _verdict(
    change: float, low: float, high: float, better: Literal["lower", "higher"], floor: float
) -> Difference:
    if low <= 0 <= high or abs(change) < floor:
        return "no clear difference"
    return "better" if (change < 0) == (better == "lower") else "worse"


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
