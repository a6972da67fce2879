"""Reports of a study: one HTML file that needs no network, and markdown."""

from pathlib import Path

from deployctl.reports.page import page
from deployctl.reports.wording import plain
from deployctl.tuning.report import wording as words
from deployctl.tuning.report.view import StudyView
from deployctl.units import duration

_TEMPLATE = Path(__file__).with_name("report.html.j2")
SHOWN = 8  # configurations in markdown; the others are in the HTML file


def html(view: StudyView) -> str:
    """The document. Everything that came from outside is escaped."""
    from deployctl.tuning.report import plots

    phases = words.phases(view)
    drawn = {
        "pareto": plots.pareto(view),
        "effects": plots.effects(view),
        "against": plots.against(view),
        "timeline": plots.timeline(view),
    }
    return page(
        _TEMPLATE,
        drawn,
        view=view,
        tone=words.TONES.get(view.verdict, "note"),
        headline=words.headline(view),
        tiles=words.tiles(view),
        comparison=words.comparison(view),
        candidates=words.candidates(view),
        phases=phases,
        priced=any(row.usd for row in phases),
        budget=words.budget(view),
    )


def markdown(view: StudyView) -> str:
    """For a job's summary or an issue."""
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
        f"- **{plain(str(tried))}** failed: {failure.kind}: {plain(failure.reason)}"
        for tried, failure in view.failures
    ]
    lines.append(f"- {duration(view.spent_s)} of the server's time")
    lines += [f"- {plain(note)}" for note in view.notes]
    return "\n".join(lines) + "\n"
