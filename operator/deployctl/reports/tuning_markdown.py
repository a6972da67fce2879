"""A tuning study as markdown, for a job's summary or an issue."""

from deployctl.reports import tuning_wording as words
from deployctl.reports.tuning_view import StudyView
from deployctl.reports.wording import plain
from deployctl.units import duration

SHOWN = 8  # configurations; the others are in the report


def render(view: StudyView) -> str:
    """Returns the document."""
    lines = [f"## Tuning of {plain(view.title)}", "", f"**{plain(words.headline(view))}**", ""]
    lines += [plain(view.why), ""]
    if rows := words.comparison(view):
        lines += ["| | baseline | winner | |", "|---|---:|---:|---:|"]
        lines += [f"| {r.name} | {r.baseline} | {r.winner} | {r.change} |" for r in rows]
        lines.append("")
    if every := words.candidates(view):
        lines += [f"| configuration | {view.goal} | 95% interval | at | SLO |"]
        lines.append("|---|---:|---|---|---|")
        for row in every[:SHOWN]:
            mark = f" **{row.role}**" if row.role and row.role != row.name else ""
            cells = (row.objective, row.interval, row.load, row.slo)
            lines.append(f"| {plain(row.name)}{mark} | {' | '.join(cells)} |")
        if len(every) > SHOWN:
            lines.append(f"\n… and {len(every) - SHOWN} more, in the report")
        lines.append("")
    lines += [
        f"- **{plain(f.candidate)}** failed: {f.kind}: {plain(f.reason)}" for f in view.failures
    ]
    lines.append(f"- {duration(view.spent_s)} of the server's time")
    lines += [f"- {plain(note)}" for note in view.notes]
    return "\n".join(lines) + "\n"
