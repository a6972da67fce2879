"""A load result as one HTML file, as markdown and as JUnit XML. Writes nothing."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from deployctl.junit import Case, Suite, document
from deployctl.reports import wording
from deployctl.reports.page import page
from deployctl_loadtest.result import Gate, LoadResult, ServerMoment
from deployctl_loadtest.sample import Sample
from deployctl_loadtest.series import Limit

_TEMPLATE = Path(__file__).with_name("report.html.j2")
_MARKS = {"met": "✅", "missed": "❌", "unresolved": "❔"}


def html(
    result: LoadResult, samples: Sequence[Sample], moments: Sequence[ServerMoment] = ()
) -> str:
    """One file that needs no network. Everything that came from outside is escaped.

    `moments` is the server's side of it, if there is one.
    """
    from deployctl.reports import plots

    rows = wording.latency_rows(result)
    drawn = {
        "latency_plot": plots.latency(result, samples) if rows else "",
        "timeline_plot": plots.timeline(result, samples) if samples else "",
        "server_plot": plots.server_timeline(result, samples, moments) if moments else "",
        "waterfall_plot": plots.waterfall(result, samples) if samples else "",
    }
    return page(
        _TEMPLATE,
        drawn,
        result=result,
        title=wording.title(result),
        setup=wording.setup_line(result),
        started=f"{datetime.fromisoformat(result.started):%d %B %Y, %H:%M UTC}",
        tiles=_tiles(result),
        columns=wording.COLUMNS,
        rows=rows,
        objectives=wording.objectives(result),
        facts=list(wording.facts(result)),
        failures=wording.failures(result),
        agreement=wording.agreement(result),
    )


def _tiles(result: LoadResult) -> list[tuple[str, str]]:
    """The four figures that are looked for first."""
    number = wording.number
    tiles = [(number(result.throughput.output_tokens_per_s), "output tokens/s")]
    for name, spread in (("TTFT", result.latency.ttft_s), ("ITL", result.latency.itl_s)):
        if spread is not None:
            tiles.append((f"{number(spread.p95 * 1000)} ms", f"{name} p95"))
    if result.latency.e2e_s is not None:
        tiles.append((f"{number(result.latency.e2e_s.p95)} s", "E2E p95"))
    tiles.append((number(result.throughput.requests_per_s), "requests/s"))
    if result.slo is not None:
        tiles.append((number(result.slo.goodput_per_s), "goodput, requests/s"))
    requests = result.requests
    share = requests.failed / max(1, requests.ok + requests.failed)
    tiles.append((f"{share:.1%}" if requests.failed else "0", "failed"))
    return tiles


def markdown(result: LoadResult) -> str:
    """For a job's summary, or an issue."""
    lines = [
        f"## Load test of {wording.plain(wording.title(result))}",
        "",
        wording.setup_line(result),
        "",
    ]
    if judged := wording.objectives(result):
        lines.append("| SLO | | value | limit | 95% interval | values | |")
        lines.append("|---|---|---:|---:|---|---:|---|")
        lines += [
            f"| {row.name} | {_MARKS[row.verdict]} {row.verdict} | {row.value} | {row.limit} | "
            f"{row.interval} | {row.samples:,} | {row.note} |"
            for row in judged
        ]
        lines.append("")
    if result.gate is not None:
        lines += [_gate(result.gate), ""]
    rows = wording.latency_rows(result)
    if rows:
        lines.append("| | unit | " + " | ".join(wording.COLUMNS) + " | values |")
        lines.append("|---|---|" + "---:|" * (len(wording.COLUMNS) + 1))
        lines += [
            f"| {row.name} | {row.unit} | {' | '.join(row.cells)} | {row.values:,} |"
            for row in rows
        ]
        lines.append("")
    lines += [f"- **{name}**: {wording.plain(text)}" for name, text in wording.facts(result)]
    lines += [
        f"- **Failed**: {count:,} × {kind}: {wording.plain(example)}"
        for kind, count, example in wording.failures(result)
    ]
    if result.verdicts:
        lines.append("")
    lines += [f"> **{verdict.level}**: {verdict.text}  " for verdict in result.verdicts]
    return "\n".join(lines) + "\n"


def _gate(gate: Gate) -> str:
    if gate.passed:
        return "**Gate passed.**"
    return "**Gate not passed**: " + "; ".join(wording.plain(reason) for reason in gate.reasons)


def junit(result: LoadResult) -> str:
    """Verdicts as JUnit cases, for the pipelines that read them."""
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
    reasons = [verdict.text for verdict in result.verdicts if verdict.level == "bad"]
    if result.interrupted:
        reasons.append("The run was interrupted.")
    return " ".join(reasons)
