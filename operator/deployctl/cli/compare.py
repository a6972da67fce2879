"""`deployctl compare`: what differs between two load tests, and whether it got worse."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from deployctl.cli.console import Output, answer_json, out, tell
from deployctl.cli.options import OutputOption
from deployctl.reports import comparison as words
from deployctl_loadtest.comparison import Comparison


def command(
    before: Annotated[
        str,
        typer.Argument(
            metavar="A", help="Result folder of the load test before; several as A1,A2,A3."
        ),
    ],
    after: Annotated[
        str, typer.Argument(metavar="B", help="Result folder of the load test after; or several.")
    ],
    threshold: Annotated[
        str, typer.Option(help="Regression that still passes, in percent.", metavar="PERCENT")
    ] = "5%",
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Compare tests of different loads all the same.")
    ] = False,
    output: OutputOption = Output.text,
) -> None:
    """Compare load tests before and after a change, and fail on a regression.

    Reads the raw samples of the result folders, and reports for each measure
    how much B differs from A, with bounds (99%), and whether that is better,
    worse, or no clear difference. Exits with 5 if a measure is clearly worse,
    by more than --threshold; and if one of the runs is invalid (its client
    was the bottleneck, nothing succeeded, it was interrupted).

        [bold]deployctl compare results/before results/after --threshold 10%[/bold]

    Two runs of the same thing differ, too. Where that matters, measure each
    side several times, in turn; the bounds then include how much runs differ.
    A side is a folder that holds them, or a list:

        [bold]deployctl compare before-1,before-2,before-3 after-1,after-2,after-3[/bold]

    Two tests of different loads or workloads (other users, other lengths, an
    open loop and a closed one) are refused, unless --anyway is given. The model
    and the server may differ: they are what is compared.
    """
    from deployctl.operations.measure.compare import compare_folders, enforce

    answer = compare_folders(before, after, threshold=threshold, other_tests=anyway, tell=tell)
    if output is Output.json:
        answer_json(answer.to_dict())
    else:
        _print(answer)
    enforce(answer)


def _print(answer: Comparison) -> None:
    for letter, side in (("A", answer.a), ("B", answer.b)):
        what = side["service"] or side["model"]
        several = f", {len(side['runs'])} runs from" if len(side["runs"]) > 1 else ","
        out.print(
            Text(f"{letter}  {side['folder']}  {what}{several} {side['started']}", style="dim")
        )
    for difference in answer.differences:
        out.print(Text.assemble(("different: ", "yellow"), difference))
    for note in answer.notes:
        out.print(Text.assemble(("note: ", "cyan"), note))
    out.print()
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for name in words.columns(answer):
        left = name in ("", "verdict")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    styles = {"better": "green", "worse": "yellow"}
    for row in words.rows(answer):
        style = "bold red" if row.regression else styles.get(row.verdict, "dim")
        told = f"{row.verdict}, a regression" if row.regression else row.verdict
        between = [row.between] if words.BETWEEN in words.columns(answer) else []
        cells = (row.a, row.b, row.change, row.interval, *between)
        table.add_row(Text(row.name, style="bold"), *cells, Text(told, style))
    # In a pipe there is no edge that a cell would have to be cut at.
    out.print(table, width=out.width if out.is_terminal else max(out.width, 100))
    out.print()
    if answer.passed:
        out.print(Text(words.conclusion(answer)))
