"""A tuning study for the terminal, as things that rich can print."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from deployctl.reports import tuning_wording as words
from deployctl.reports.tuning_view import StudyView
from deployctl.units import duration

SHOWN = 8  # configurations; the others are in the report
_STYLES = {"good": "bold green", "note": "bold cyan", "warning": "bold yellow", "bad": "bold red"}
_HELD = {"met": "green", "missed": "bold red", "unresolved": "yellow"}


def render(view: StudyView) -> Iterator[RenderableType]:
    """Yields the lines and the tables."""
    yield Text(words.headline(view), style=_STYLES.get(words.TONES.get(view.verdict, ""), ""))
    yield Text(view.why, style="dim")
    yield Text()
    if every := words.candidates(view):
        table = _table("configuration", f">{view.goal}", "95% interval", "at", "SLO", ">runs")
        for row in every[:SHOWN]:
            name = Text(row.name)
            if row.role:
                name.stylize("bold")
                if row.role != row.name:
                    name.append(f" ({row.role})", "green")
            held = Text(row.slo, style=_HELD.get(row.slo, ""))
            table.add_row(name, row.objective, row.interval, row.load, held, str(row.runs))
        yield table
        if len(every) > SHOWN:
            yield Text(f"… and {len(every) - SHOWN} more, in the report", style="dim")
        yield Text()
    if rows := words.comparison(view):
        table = _table("", ">baseline", ">winner", ">change")
        for each in rows:
            table.add_row(Text(each.name, style="bold"), each.baseline, each.winner, each.change)
        yield table
        yield Text()
    for failure in view.failures:
        yield Text.assemble(
            ("does not do  ", "red"), f"{failure.candidate}: {failure.kind}: {failure.reason}"
        )
    usd = words.cost(view, view.spent_s)
    money = "" if usd is None else f", about ${usd:.2f}"
    yield Text.assemble(("Spent      ", "bold"), f"{duration(view.spent_s)} of the server{money}")
    for note in view.notes:
        yield Text.assemble(("note: ", "cyan"), note)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left")
    return table
