"""Gate: whether a result may pass for one that holds its SLO. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from deployctl.load import slo
from deployctl_loadtest.result import Gate, LoadResult, Objective
from deployctl_loadtest.sample import Sample
from deployctl_loadtest.series import Limit


def hold(
    result: LoadResult, samples: Sequence[Sample], level: slo.Slo | None, *, gated: bool = False
) -> LoadResult:
    """The result with its SLO judged; and the gate's answer, if one was asked for."""
    if level is None:
        return result
    result = replace(result, slo=slo.evaluate(level, samples, result.window_s))
    return replace(result, gate=judge(result)) if gated else result


def judge(result: LoadResult) -> Gate:
    """Whether a result may pass for one that holds its SLO.

    It may not where an objective was missed, or lies beyond its limit though that is not
    certain; nor, whatever its figures, where the client was the bottleneck, samples are
    missing, nothing was measured, or the run was broken off.
    """
    reasons = [f"{v.code}: {v.text}" for v in result.verdicts if v.level == "bad"]
    if result.client.bottleneck and not any("client_bottleneck" in r for r in reasons):
        reasons.append("client_bottleneck: the client was the bottleneck")
    if result.interrupted:
        reasons.append("interrupted: the run was broken off")
    if not result.requests.ok and not reasons:
        reasons.append("no_success: no request succeeded")
    if result.slo is not None:
        reasons += [tell(o) for o in result.slo.objectives if not _passes(o)]
    return Gate(passed=not reasons, reasons=reasons)


def judge_search(limit: Limit) -> Gate:
    """Whether the answer of a search for the limit may pass.

    Only one that is an answer does: a load that held, and what bounds it. A single run may pass
    unresolved, for its value is known and within the limit; of a search that did not decide, the
    value is what is missing.
    """
    return Gate(passed=limit.answered, reasons=[] if limit.answered else [limit.text])


def _passes(objective: Objective) -> bool:
    if objective.verdict == "unresolved":
        return objective.value is not None and objective.value <= objective.limit
    return objective.verdict == "met"


def tell(objective: Objective) -> str:
    """`ttft_p95 missed: 612 ms, limit 500 ms (95% interval 580 ms to 655 ms, 240 values)`."""
    write = _percent if objective.name == "error_rate" else _time
    what = objective.name
    if objective.value is not None:
        value = write(objective.value)
    else:
        value = "no answer at all" if objective.failed else "not measured"
    low = "?" if objective.low is None else write(objective.low)
    high = "unbounded" if objective.high is None else write(objective.high)
    extra = f", {objective.failed:,} of them failed" if objective.failed else ""
    extra += f", {objective.cut:,} cut by the end" if objective.cut else ""
    note = f"; {objective.note}" if objective.note else ""
    return (
        f"{what} {objective.verdict}: {value}, limit {write(objective.limit)} "
        f"({objective.confidence:.0%} interval {low} to {high}, "
        f"{objective.samples:,} values{extra}{note})"
    )


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.4g} ms" if seconds < 10 else f"{seconds:.4g} s"


def _percent(share: float) -> str:
    return f"{share * 100:.3g}%"
