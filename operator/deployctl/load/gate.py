"""Whether a run holds its SLO, by the intervals of its percentiles, and may pass a gate. Pure."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from deployctl.load import aggregate, intervals
from deployctl.load.pooled import Ordered
from deployctl.load.slo import Slo, Term, at_least, goodput, met, value_of
from deployctl_loadtest.result import Gate, LoadResult, Objective, SloResult
from deployctl_loadtest.sample import Sample
from deployctl_loadtest.series import Limit

ObjectiveVerdict = Literal["met", "missed", "unresolved"]
_RANK = {"missed": 0, "unresolved": 1, "met": 2}


def hold(
    result: LoadResult, samples: Sequence[Sample], level: Slo | None, *, gated: bool = False
) -> LoadResult:
    """The result with its SLO judged; and the gate's answer, if one was asked for."""
    if level is None:
        return result
    result = replace(result, slo=evaluate(level, samples, result.window_s))
    return replace(result, gate=judge(result)) if gated else result


def judge(result: LoadResult) -> Gate:
    """Whether a result may pass for one that holds its SLO.

    It may not where an objective was missed, or lies beyond its limit though that is not
    certain; nor, whatever its figures, where the client was the bottleneck, samples are
    missing, nothing was measured, or the run did not finish.
    """
    reasons = [f"{v.code}: {v.text}" for v in result.verdicts if v.level == "bad"]
    if result.client.bottleneck and not any("client_bottleneck" in r for r in reasons):
        reasons.append("client_bottleneck: the client was the bottleneck")
    if result.interrupted:
        reasons.append("interrupted: the run did not finish")
    if not result.requests.ok and not reasons:
        reasons.append("no_success: no request succeeded")
    if result.slo is not None:
        reasons += [tell(o) for o in result.slo.objectives if not passes(o)]
    return Gate(passed=not reasons, reasons=reasons)


def judge_search(limit: Limit) -> Gate:
    """Whether the answer of a search for the limit may pass.

    Only one that is an answer does: a load that held, and what bounds it. A single run may pass
    unresolved, for its value is known and within the limit; of a search that did not decide, the
    value is what is missing.
    """
    return Gate(passed=limit.answered, reasons=[] if limit.answered else [limit.text])


def passes(objective: Objective) -> bool:
    """Whether it is met, or unresolved with its value within the limit."""
    if objective.verdict == "unresolved":
        return objective.value is not None and objective.value <= objective.limit
    return objective.verdict == "met"


def tell(objective: Objective) -> str:
    """`ttft_p95 missed: 612 ms, limit 500 ms (95% interval 580 ms to 655 ms, 240 values)`."""
    name, value, low, high = objective.name, objective.value, objective.low, objective.high
    unknown = "no answer at all" if objective.failed else "not measured"
    extra = f", {objective.failed:,} of them failed" if objective.failed else ""
    extra += f", {objective.cut:,} cut by the end" if objective.cut else ""
    note = f"; {objective.note}" if objective.note else ""
    return (
        f"{name} {objective.verdict}: {unknown if value is None else figure(name, value)}, "
        f"limit {figure(name, objective.limit)} ({objective.confidence:.0%} interval "
        f"{'?' if low is None else figure(name, low)} to "
        f"{'unbounded' if high is None else figure(name, high)}, "
        f"{objective.samples:,} values{extra}{note})"
    )


def figure(name: str, value: float) -> str:
    """An objective's value or limit with its unit."""
    if name == "error_rate":
        return f"{value * 100:.3g}%"
    return f"{value * 1000:.4g} ms" if value < 10 else f"{value:.4g} s"


def evaluate(slo: Slo, samples: Sequence[Sample], window: tuple[float, float]) -> SloResult:
    """Holds the samples against the SLO. `warmup` must be marked in them.

    `window` is the measured time, in seconds from the run's start.
    """
    measured = [sample for sample in samples if not sample.warmup]
    objectives = [
        _error_rate(term, measured) if term.measure is None else _percentile(term, measured)
        for term in slo.terms
    ]
    decided = met(slo, samples)
    return SloResult(
        text=slo.text,
        verdict=min((o.verdict for o in objectives), key=lambda verdict: _RANK[verdict]),
        objectives=objectives,
        good=sum(decided),
        good_share=round(sum(decided) / len(decided), 6) if decided else None,
        goodput_per_s=goodput(slo, samples, window).value,
    )


def _percentile(term: Term, measured: Sequence[Sample]) -> Objective:
    groups: list[Sequence[float]] = []
    failed = cut = 0
    for sample in measured:
        assert term.measure is not None
        if sample.outcome == "ok":
            if term.measure == "itl":
                groups.append(sample.chunk_gaps_s)
            elif (value := value_of(sample, term.measure)) is not None:
                groups.append([value])
        elif term.measure == "itl":
            continue
        elif sample.failed:
            groups.append([math.inf])
            failed += 1
        elif (least := at_least(sample, term.measure)) > term.limit:
            groups.append([least])
            cut += 1
    ordered = intervals.pooled(groups) if term.measure != "itl" else Ordered(groups)
    value = _linear(ordered, term.share)
    bounds = intervals.quantile(groups, term.share, ordered=ordered)
    if value is not None:
        bounds = bounds.around(value)
    # To the microsecond that is reported, so that the figures say why the verdict is what it is.
    bounds = intervals.Interval(round(bounds.low, 6), round(bounds.high, 6))
    verdict = _verdict(bounds, term.limit)
    note = _why_unresolved(term, groups, ordered) if verdict == "unresolved" else None
    return _objective(term, verdict, value, bounds, len(ordered), note, failed=failed, cut=cut)


def _why_unresolved(term: Term, groups: intervals.Groups, ordered: Sequence[float]) -> str:
    count = len(ordered)
    if not count:
        return "nothing was measured"
    needed = intervals.needed(term.share)
    size = intervals.effective_values(groups, term.share, ordered=ordered)
    if size >= needed:
        return "the interval includes the limit: measure longer"
    if count == size:
        return f"{count:,} values bound no p{term.share * 100:g}: it takes {needed:,}"
    return (
        f"{count:,} correlated values count as {size:,} independent ones, "
        f"and it takes {needed:,} to bound a p{term.share * 100:g}"
    )


def _linear(ordered: Sequence[float], share: float) -> float | None:
    if not ordered:
        return None
    # Between a number and infinity nothing can be interpolated: take the upper, unless the
    # percentile is the number itself.
    position = share * (len(ordered) - 1)
    if math.isinf(ordered[math.ceil(position)]):
        return math.inf
    if position.is_integer():
        return ordered[int(position)]
    return aggregate.percentile(ordered, share)


def _error_rate(term: Term, measured: Sequence[Sample]) -> Objective:
    """Failed ÷ (failed + ok). What the run's end cut is neither."""
    ended = [sample for sample in measured if sample.outcome != "incomplete"]
    if not ended:
        unknown = intervals.Interval(-math.inf, math.inf)
        return _objective(term, "unresolved", None, unknown, 0, "nothing was measured")
    failed = sum(sample.failed for sample in ended)
    bounds = intervals.proportion([(int(sample.failed), 1) for sample in ended])
    verdict, note = _verdict(bounds, term.limit), None
    if verdict == "unresolved":
        note = "the interval includes the limit: measure longer"
        if not term.limit:
            note = "a limit of 0 can never be shown to be met"
        elif not failed:
            least = intervals.needed(1 - term.limit)
            note = f"no failure seen, but {least:,} requests without one are needed to show it"
    share = failed / len(ended)
    return _objective(term, verdict, share, bounds, len(ended), note, failed=failed)


def _verdict(bounds: intervals.Interval, limit: float) -> ObjectiveVerdict:
    if bounds.low > limit:
        return "missed"
    return "met" if bounds.high <= limit else "unresolved"


def _objective(
    term: Term,
    verdict: ObjectiveVerdict,
    value: float | None,
    bounds: intervals.Interval,
    samples: int,
    note: str | None,
    *,
    failed: int = 0,
    cut: int = 0,
) -> Objective:
    return Objective(
        name=term.name,
        limit=term.limit,
        value=_finite(value),
        low=_finite(bounds.low),
        high=_finite(bounds.high),
        confidence=intervals.CONFIDENCE,
        samples=samples,
        failed=failed,
        cut=cut,
        verdict=verdict,
        note=note,
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else round(value, 6)
