"""A load result as markdown, for a job's summary or an issue."""

from deployctl.reports import wording
from deployctl_loadtest.result import Gate, LoadResult

_MARKS = {"met": "✅", "missed": "❌", "unresolved": "❔"}


def render(result: LoadResult) -> str:
    """Returns the document."""
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
