"""What a study does, came to, and would do, for a terminal."""

from collections.abc import Iterator
from typing import Any, Self

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from deployctl.cli.console import LiveLine, out, tell
from deployctl.events import Event
from deployctl.operations.tune.answer import TuneOutcome
from deployctl.operations.tune.progress import Doing
from deployctl.tuning.report import wording as words
from deployctl.tuning.report.view import StudyView
from deployctl.tuning.trial import Configuration
from deployctl.units import duration

SHOWN = 8  # configurations; the others are in the report
_STYLES = {"good": "bold green", "note": "bold cyan", "warning": "bold yellow", "bad": "bold red"}
_HELD = {"met": "green", "missed": "bold red", "unresolved": "yellow"}


class TuneProgress:
    """Shows the events of a study, between `with` and its end."""

    def __init__(self) -> None:
        self._live = LiveLine()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._live.end()

    def __call__(self, event: Event) -> None:
        """Shows one event."""
        self._live.end()
        doing = event.detail
        if isinstance(doing, Doing):
            self._live.show(lambda passed: f"{doing.what}, {duration(passed)} · {doing.so_far}")
        elif event.kind == "progress":  # of the download, once a second
            self._live.show(lambda _: event.text)
        else:
            tell(event)


def show(outcome: TuneOutcome) -> None:
    """The answer; that of a study which had ended before, in short."""
    told = outcome.document
    if outcome.view is None:
        out.print(f"{told['verdict'].replace('_', ' ')}: {told['why']}")
        for name in ("report", "study", "recommendation"):
            out.print(f"{name.capitalize():<15} {told[name]}")
        return
    for renderable in render(outcome.view):
        out.print(renderable)
    out.print(f"\nReport     {told['report']}")
    out.print(f"Study      {told['study']}")
    out.print(f"Settings   {told['recommendation']}")
    if told["verdict"] == "winner":
        out.print(f"Use them   deployctl up … --tuned {told['recommendation']}")


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
    for tried, failure in view.failures:
        told = f"{tried}: {failure.kind}: {failure.reason}"
        yield Text.assemble(("failed     ", "red"), told)
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


def show_dry_run(document: dict[str, Any]) -> None:
    """The trials that a study would make."""
    slo = f" under {document['slo']}" if document["slo"] else ""
    out.print(f"{document['service']}: {document['objective']}{slo}, nothing is started\n")
    for name, entry in document["space"].items():
        values = ", ".join(str(v) for v in entry["values"])
        now = "" if entry["current"] is None else f" (now {entry['current']})"
        out.print(f"  {name}: {values}{now}")
    out.print()
    for trial in document["trials"]:
        loads = ", ".join(load["load"] for load in trial["loads"]) or "none"
        out.print(f"trial {trial['trial']}: {Configuration.of(trial['settings'])}", style="bold")
        out.print(f"  {trial['phase']}: {trial['why']}")
        out.print(f"  loads: {loads}")
    for refused in document["refused"]:
        out.print(f"never started: {Configuration.of(refused['settings'])}: {refused['reason']}")
    minutes = duration(60 * document["server_minutes"])
    out.print(
        f"\nAbout {minutes} of the server, of {duration(60 * document['budget_minutes'])} allowed. "
        "The real order depends on what is measured; this is what the plan expects."
    )
    for note in document["notes"]:
        out.print(f"note: {note}")
