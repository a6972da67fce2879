"""A load result as markdown, for a job's summary or an issue."""

from deployctl.reports import wording
from deployctl_loadtest.result import LoadResult


def render(result: LoadResult) -> str:
    """Returns the document."""
    lines = [f"## Load test of {_plain(wording.title(result))}", "", wording.setup_line(result), ""]
    rows = wording.latency_rows(result)
    if rows:
        lines.append("| | unit | " + " | ".join(wording.COLUMNS) + " | values |")
        lines.append("|---|---|" + "---:|" * (len(wording.COLUMNS) + 1))
        lines += [
            f"| {row.name} | {row.unit} | {' | '.join(row.cells)} | {row.values:,} |"
            for row in rows
        ]
        lines.append("")
    lines += [f"- **{name}**: {_plain(text)}" for name, text in wording.facts(result)]
    lines += [
        f"- **Failed**: {count:,} × {kind}: {_plain(example)}"
        for kind, count, example in wording.failures(result)
    ]
    if result.verdicts:
        lines.append("")
    lines += [f"> **{verdict.level}**: {verdict.text}  " for verdict in result.verdicts]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Keeps what a server said from becoming markup."""
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text
