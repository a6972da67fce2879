"""Verdicts as JUnit cases, for the pipelines that read them. Makes a document; writes nothing."""

from deployctl.junit import Case, Suite, document
from deployctl.reports import wording
from deployctl_loadtest.result import LoadResult
from deployctl_loadtest.series import Limit


def loadtest(result: LoadResult) -> str:
    """The document of one load test."""
    return document([suite(result)])


def suite(result: LoadResult, load: str = "") -> Suite:
    """One test case an objective, and one for whether the result can be believed.

    A missed objective is a failure, and so is an unresolved one beyond its limit. One that
    is unresolved within its limit is a skipped case: it passes no judgement. What spoils the
    whole result (its client was the bottleneck, nothing was measured) is an error.
    """
    name = f"loadtest {wording.title(result)}{f' {load}' if load else ''}"
    seconds = result.window_s[1] - result.window_s[0]
    spoilt = _spoilt(result)
    cases = [Case("trustworthy", "error" if spoilt else "passed", spoilt, seconds=seconds)]
    for objective, row in zip(
        result.slo.objectives if result.slo else (), wording.objectives(result), strict=True
    ):
        title = f"{row.name} ≤ {row.limit}"
        if row.verdict == "met":
            cases.append(Case(title, seconds=seconds))
            continue
        told = (
            f"{row.name} {row.verdict}: {row.value}, limit {row.limit}, 95% interval "
            f"{row.interval}, {row.samples:,} values" + (f"; {row.note}" if row.note else "")
        )
        over = objective.value is None or objective.value > objective.limit
        failed = row.verdict == "missed" or over
        cases.append(Case(title, "failure" if failed else "skipped", told, seconds=seconds))
    return Suite(name, cases, seconds, result.started)


def search(limit: Limit, name: str, seconds: float, started: str) -> Suite:
    """One case: the answer of a search for the limit. That loads beyond it fail is its point."""
    title = f"limit {limit.slo}"
    if limit.answered:
        case = Case(title, seconds=seconds)
    elif limit.status == "interrupted":
        case = Case(title, "error", limit.text, seconds=seconds)
    else:
        case = Case(title, "failure", limit.text, seconds=seconds)
    return Suite(f"loadtest {name} --find-max", [case], seconds, started)


def _spoilt(result: LoadResult) -> str:
    found = [verdict.text for verdict in result.verdicts if verdict.level == "bad"]
    if result.interrupted:
        found.append("The run was interrupted.")
    return " ".join(found)
