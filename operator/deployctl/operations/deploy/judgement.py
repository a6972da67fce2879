"""Whether a live release holds its SLO: by a load test, or by what its /metrics told. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deployctl.errors import InputError
from deployctl.load import gate, intervals
from deployctl.load.slo import Slo, Term
from deployctl.metrics import Histogram, Snapshot, between
from deployctl_loadtest.result import LoadResult, Objective

WATCHABLE = ("ttft", "itl", "e2e")  # what vLLM has histograms of
LEAST_MISSES = 3  # in a row, that a miss must be seen in before a watch is ended early


@dataclass(frozen=True)
class Judgement:
    """What a verification came to. Only one that passed keeps a revision."""

    passed: bool
    text: str  # in one line, for history
    reasons: tuple[str, ...]  # why it did not pass
    objectives: tuple[Objective, ...]


def of_load(result: LoadResult) -> Judgement:
    """The gate's answer: missed, or not to be believed (the client was the bottleneck, nothing
    was measured), does not pass; unresolved passes where its figure is within the limit."""
    answer = gate.judge(result)
    objectives = tuple(result.slo.objectives) if result.slo else ()
    # What was certainly missed comes before what could not be measured.
    missed = [gate.tell(o) for o in objectives if o.verdict == "missed"]
    reasons = (*missed, *(reason for reason in answer.reasons if reason not in missed))
    return Judgement(answer.passed, _text(objectives), reasons, objectives)


def check_watchable(slo: Slo) -> None:
    """Refuses objectives that /metrics cannot tell.

    Raises:
        InputError: names the first of them.
    """
    for term in slo.terms:
        if term.measure is not None and term.measure not in WATCHABLE:
            raise InputError(
                f"/metrics does not have {term.name}",
                where="--slo",
                hint="watch ttft_pNN, itl_pNN, e2e_pNN or error_rate; or leave out "
                "--watch-metrics to have a load test measure it",
            )


def of_watch(slo: Slo, earlier: Snapshot, later: Snapshot) -> Judgement:
    """What the users of the time between two scrapes had. No traffic is no proof."""
    delta = between(earlier, later)
    if delta.restarted or earlier.started_unix_s != later.started_unix_s:
        return Judgement(False, "the engine restarted", ("the engine restarted",), ())
    requests = delta.ttft.count if delta.ttft else delta.requests or 0.0
    histograms = {"ttft": delta.ttft, "itl": delta.itl, "e2e": delta.e2e}
    objectives = tuple(
        _errors(term, earlier, later)
        if term.measure is None
        else _percentile(term, histograms.get(term.measure), requests)
        for term in slo.terms
    )
    reasons = [gate.tell(o) for o in objectives if not gate.passes(o)]
    if requests < 1:
        reasons = ["it had no traffic in that time, so nothing is known about it"]
    return Judgement(not reasons, _text(objectives), tuple(reasons), objectives)


def certainly_missed(judgements: Sequence[Judgement]) -> bool:
    """Whether the last judgements all have an objective that is missed beyond doubt: users need not
    wait for the end of the watch."""
    last = judgements[-LEAST_MISSES:]
    return len(last) == LEAST_MISSES and all(
        any(o.verdict == "missed" for o in each.objectives) for each in last
    )


def _percentile(term: Term, seen: Histogram | None, requests: float) -> Objective:
    """Bounds by rank, at the edges of the buckets that they fall in: what lies between two
    edges cannot be told apart."""
    count = round(seen.count) if seen else 0
    if seen is None or count < 1:
        return _objective(term, None, None, None, 0, "nothing was measured")
    # The gaps of one answer resemble each other: no more are independent than there are answers.
    answers = max(1, min(count, round(requests)))
    tail = (1 - intervals.CONFIDENCE) / 2
    first = intervals.binomial_quantile(answers, term.share, tail) * count / answers
    last = (intervals.binomial_quantile(answers, term.share, 1 - tail) + 1) * count / answers
    low, high = _lower_edge(seen, first), _upper_edge(seen, last)
    value = seen.quantile(term.share)
    note = None
    if low < term.limit < high:
        note = "the interval, or a histogram bucket, includes the limit: watch longer"
    return _objective(term, value, low, high, count, note)


def _lower_edge(seen: Histogram, rank: float) -> float:
    """The highest bound that no more than `rank` - 1 values lie at or below."""
    edge = 0.0
    for bound, below in seen.buckets:
        if below > max(0.0, rank - 1):
            break
        edge = bound
    return edge if math.isfinite(edge) else seen.buckets[-2][0]


def _upper_edge(seen: Histogram, rank: float) -> float:
    """The lowest bound that at least `rank` values lie at or below."""
    return next((bound for bound, below in seen.buckets if below >= rank), math.inf)


def _errors(term: Term, earlier: Snapshot, later: Snapshot) -> Objective:
    if later.answers is None or later.errors is None:
        return _objective(term, None, None, None, 0, "the engine exports no HTTP status counts")
    asked = round(later.answers - (earlier.answers or 0.0))
    failed = round(later.errors - (earlier.errors or 0.0))
    if asked < 1:
        return _objective(term, None, None, None, 0, "nothing was measured")
    bounds = intervals.exact(failed, asked)
    note = None if failed else f"no failure in {asked:,} answers"
    return _objective(term, failed / asked, bounds.low, bounds.high, asked, note, failed)


def _objective(
    term: Term,
    value: float | None,
    low: float | None,
    high: float | None,
    samples: int,
    note: str | None,
    failed: int = 0,
) -> Objective:
    verdict: Literal["met", "missed", "unresolved"] = "unresolved"
    if low is not None and high is not None:
        if high <= term.limit:
            verdict = "met"
        # A value lies above its bucket's lower bound; a share may be equal to its own.
        elif low > term.limit or (low == term.limit and term.measure is not None):
            verdict = "missed"
    return Objective(
        name=term.name,
        limit=term.limit,
        value=value,
        low=low,
        high=None if high is None or math.isinf(high) else high,
        confidence=intervals.CONFIDENCE,
        samples=samples,
        failed=failed,
        cut=0,
        verdict=verdict,
        note=note if verdict == "unresolved" else None,
    )


def _text(objectives: Sequence[Objective]) -> str:
    """`ttft_p95 212 ms of 500 ms, error_rate 0% of 1%`."""
    return ", ".join(
        f"{o.name} {'unknown' if o.value is None else gate.figure(o.name, o.value)} "
        f"of {gate.figure(o.name, o.limit)}"
        for o in objectives
    )
