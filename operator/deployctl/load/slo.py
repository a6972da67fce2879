"""Slo: what is acceptable, read from text and held against raw samples. Pure.

A percentile is judged over every request that was asked for, as its user sees it: one that
failed never had its answer, so it is over any limit; one cut by the run's end counts if it was
over the limit by then. Gaps (ITL) are those of the requests that succeeded, pooled.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from deployctl import units
from deployctl.errors import InputError
from deployctl.load import aggregate, intervals
from deployctl_loadtest.sample import Sample

Measure = Literal["ttft", "itl", "tpot", "e2e"]
_TERM = re.compile(r"(ttft|itl|tpot|e2e)_p(\d{1,2}(?:\.\d+)?)")
_EXAMPLE = "write for example --slo ttft_p95=500ms,itl_p99=50ms,error_rate=0.1%"


class Term(NamedTuple):
    """One objective. `measure` is None for the error rate; `limit` is seconds, or a share."""

    name: str
    measure: Measure | None
    share: float  # of the percentile, 0 to 1
    limit: float


class Slo(NamedTuple):
    """A service level: its objectives, and the text they came from."""

    text: str
    terms: tuple[Term, ...]


def parse(text: str) -> Slo:
    """Reads `ttft_p95=500ms,itl_p99=50ms,error_rate=0.1%`.

    Raises:
        InputError: a term is unknown, given twice, or its limit makes no sense.
    """
    terms: list[Term] = []
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise InputError("the SLO is empty", where="--slo", hint=_EXAMPLE)
    for part in parts:
        name, equals, limit = (word.strip() for word in part.partition("="))
        where = f"--slo: {part}"
        if not equals or not limit:
            raise InputError(f"{part!r} is not name=limit", where="--slo", hint=_EXAMPLE)
        if any(term.name == name for term in terms):
            raise InputError(f"{name} is given twice", where="--slo")
        terms.append(_term(name, limit, where))
    return Slo(",".join(parts), tuple(terms))


def _term(name: str, limit: str, where: str) -> Term:
    if name == "error_rate":
        return Term(name, None, 0.0, _share(limit, where))
    match = _TERM.fullmatch(name)
    if match is None:
        raise InputError(
            f"unknown objective {name!r}",
            where=where,
            hint="there are ttft_pNN, itl_pNN, tpot_pNN, e2e_pNN (NN: 50, 95, 99.9, …) "
            "and error_rate",
        )
    share = float(match[2]) / 100
    if not 0 < share < 1:
        raise InputError(f"p{match[2]} is not a percentile", where=where)
    if re.fullmatch(r"[\d.]+", limit):
        raise InputError(f"{limit} has no unit", where=where, hint=f"write {limit}ms or {limit}s")
    try:
        seconds = units.seconds(limit)
    except ValueError as error:
        raise InputError(str(error), where=where) from error
    if seconds <= 0:
        raise InputError("a limit must be above 0 s", where=where)
    measure: Measure = match[1]  # type: ignore[assignment]
    return Term(name, measure, share, seconds)


def _share(text: str, where: str) -> float:
    number, scale = (text[:-1], 0.01) if text.endswith("%") else (text, 1.0)
    if not re.fullmatch(r"\d+(\.\d+)?|\.\d+", number.strip()):
        raise InputError(f"{text!r} is not a share", where=where, hint="write 0.1% or 0.001")
    share = float(number) * scale
    if share > 1:
        raise InputError(f"{text} is more than 100%", where=where, hint="write 1% or 0.01")
    return share


def meets(slo: Slo, sample: Sample) -> bool:
    """Whether one request met every objective. Of its gaps (ITL), its own percentile counts."""
    if sample.outcome != "ok":
        return False
    for term in slo.terms:
        if term.measure == "itl":
            gaps = sorted(sample.chunk_gaps_s)
            value = aggregate.percentile(gaps, term.share) if gaps else None
        elif term.measure is None:
            continue
        else:
            value = value_of(sample, term.measure)
        if value is not None and value > term.limit:
            return False
    return True


def met(slo: Slo, samples: Sequence[Sample]) -> list[bool]:
    """Whether each request that began in the window met every objective, in the order of start.

    As in a percentile, one cut by the run's end counts (as missed) if it was over a limit by then.
    """
    return [
        meets(slo, sample)
        for sample in samples
        if not sample.warmup and (sample.outcome != "incomplete" or _is_over(slo, sample))
    ]


class Goodput(NamedTuple):
    """Requests a second that met every objective: value, and its 95% interval."""

    value: float
    low: float
    high: float


def goodput(slo: Slo, samples: Sequence[Sample], window: tuple[float, float]) -> Goodput:
    """How many requests end a second, and of these the share that met every objective.

    That share is of the requests that began in the window. What ends in it and began before met
    users who all came at once, which in a short window with slow answers is many.
    """
    began = [sample for sample in samples if not sample.warmup]
    ok = sum(sample.outcome == "ok" for sample in began)
    if not ok:
        return Goodput(0.0, 0.0, 0.0)
    failed = sum(sample.failed for sample in began)
    ended = aggregate.requests_per_s(samples, window) * (ok + failed) / ok
    good = met(slo, samples)
    bounds = intervals.proportion([(int(one), 1) for one in good])
    shares = (sum(good) / len(good), bounds.low, bounds.high)
    return Goodput(*(round(ended * share, 4) for share in shares))


def _is_over(slo: Slo, cut: Sample) -> bool:
    return any(
        term.measure not in (None, "itl") and at_least(cut, term.measure) > term.limit
        for term in slo.terms
    )


def value_of(sample: Sample, measure: Measure) -> float | None:
    """A request's own, in seconds; ITL has none."""
    return {"ttft": sample.ttft_s, "tpot": sample.tpot_s, "e2e": sample.e2e_s}.get(measure)


def at_least(sample: Sample, measure: Measure) -> float:
    """What a request cut by the end had taken by then: its true value is no less."""
    if measure == "ttft":
        return sample.duration_s if sample.ttft_s is None else sample.ttft_s
    return sample.duration_s if measure == "e2e" else 0.0
