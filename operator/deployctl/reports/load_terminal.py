"""A load result for the terminal, as things that rich can print."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from deployctl.reports import wording
from deployctl_loadtest.result import LoadResult

_STYLES = {"bad": "bold red", "warning": "yellow", "note": "cyan"}
_HELD = {"met": "green", "missed": "bold red", "unresolved": "yellow"}


def render(result: LoadResult) -> Iterator[RenderableType]:
    """Yields the lines and the table."""
    yield Text.assemble((wording.title(result), "bold"), f"  {result.setup.url}")
    yield Text(wording.setup_line(result), style="dim")
    yield Text()
    rows = wording.latency_rows(result)
    if rows:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("")
        table.add_column("unit", style="dim")
        for column in wording.COLUMNS:
            table.add_column(column, justify="right")
        table.add_column("values", justify="right", style="dim")
        for row in rows:
            table.add_row(Text(row.name, style="bold"), row.unit, *row.cells, f"{row.values:,}")
        yield table
        yield Text()
    for name, text in wording.facts(result):
        yield Text.assemble((f"{name:<11}", "bold"), text)
    for kind, count, example in wording.failures(result):
        yield Text.assemble(("  failed   ", "red"), f"{count:,} × {kind}, e.g. {example}")
    if judged := wording.objectives(result):
        yield Text()
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for column in ("SLO", "", "value", "limit", "95% interval", "values"):
            table.add_column(column)
        for each in judged:
            held = Text(each.verdict, style=_HELD[each.verdict])
            cells = (each.value, each.limit, each.interval, f"{each.samples:,}")
            table.add_row(Text(each.name, style="bold"), held, *cells)
        yield table
        for each in judged:
            if each.note:
                yield Text(f"  {each.name}: {each.note}", style="dim")
    if result.gate is not None:
        yield Text()
        told = "Gate passed" if result.gate.passed else "Gate not passed"
        yield Text(told, style="green" if result.gate.passed else "bold red")
    if result.verdicts:
        yield Text()
    for verdict in result.verdicts:
        yield Text.assemble((f"{verdict.level}: ", _STYLES[verdict.level]), verdict.text)
