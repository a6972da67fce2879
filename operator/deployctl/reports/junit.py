"""Verdicts as JUnit XML, for the pipelines that read it. Makes a document; writes nothing."""

from xml.sax.saxutils import quoteattr

from deployctl.reports import wording
from deployctl_loadtest.result import LoadResult
from deployctl_loadtest.series import Limit

_ILLEGAL = {code: None for code in range(32) if code not in (9, 10, 13)}  # in XML 1.0


def loadtest(result: LoadResult) -> str:
    """The document of one load test."""
    return document([suite(result)])


def document(suites: list[str]) -> str:
    """Suites made one document."""
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return f"{head}\n<testsuites>\n{''.join(suites)}</testsuites>\n"


def suite(result: LoadResult, load: str = "") -> str:
    """One test case an objective, and one for whether the result can be believed.

    A missed objective is a failure, and so is an unresolved one beyond its limit. One that
    is unresolved within its limit is a skipped case: it passes no judgement. What spoils the
    whole result (its client was the bottleneck, nothing was measured) is an error.
    """
    name = f"loadtest {wording.title(result)}{f' {load}' if load else ''}"
    seconds = result.window_s[1] - result.window_s[0]
    cases = [_case(name, "trustworthy", _spoilt(result), "error", seconds)]
    for objective, row in zip(
        result.slo.objectives if result.slo else (), wording.objectives(result), strict=True
    ):
        told = (
            f"{row.name} {row.verdict}: {row.value}, limit {row.limit}, 95% interval "
            f"{row.interval}, {row.samples:,} values" + (f"; {row.note}" if row.note else "")
        )
        over = objective.value is None or objective.value > objective.limit
        kind = "failure" if row.verdict == "missed" or over else "skipped"
        told = "" if row.verdict == "met" else told
        cases.append(_case(name, f"{row.name} ≤ {row.limit}", told, kind, seconds))
    counts = {
        f"{kind}{'' if kind == 'skipped' else 's'}": sum(f"<{kind} " in case for case in cases)
        for kind in ("failure", "error", "skipped")
    }
    numbers = " ".join(f'{kind}="{count}"' for kind, count in counts.items())
    return (
        f'<testsuite name={_quoted(name)} tests="{len(cases)}" {numbers} '
        f'time="{seconds:.3f}" timestamp={_quoted(result.started)}>\n'
        + "".join(cases)
        + "</testsuite>\n"
    )


def search(limit: Limit, name: str, seconds: float, started: str) -> str:
    """One case: the answer of a search for the limit. That loads beyond it fail is its point."""
    kind = "error" if limit.status == "interrupted" else "failure"
    suite = f"loadtest {name} --find-max"
    case = _case(suite, f"limit {limit.slo}", "" if limit.answered else limit.text, kind, seconds)
    failures, errors = (int(not limit.answered and kind == each) for each in ("failure", "error"))
    return (
        f'<testsuite name={_quoted(suite)} tests="1" failures="{failures}" errors="{errors}" '
        f'skipped="0" time="{seconds:.3f}" timestamp={_quoted(started)}>\n{case}</testsuite>\n'
    )


def _spoilt(result: LoadResult) -> str:
    found = [verdict.text for verdict in result.verdicts if verdict.level == "bad"]
    if result.interrupted:
        found.append("The run was interrupted.")
    return " ".join(found)


def _case(suite: str, name: str, message: str, kind: str, seconds: float) -> str:
    inner = f"<{kind} message={_quoted(message)} />" if message else ""
    head = f'<testcase classname={_quoted(suite)} name={_quoted(name)} time="{seconds:.3f}">'
    return f"{head}{inner}</testcase>\n"


def _quoted(text: str) -> str:
    return quoteattr(text.translate(_ILLEGAL))
