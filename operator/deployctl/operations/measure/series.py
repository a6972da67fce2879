"""Several runs of a load test in a row: `--sweep`, and what a search shares with it."""

import dataclasses
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deployctl.cli.console import out
from deployctl.endpoint import Endpoint
from deployctl.errors import InputError
from deployctl.events import Event, Tell, silent
from deployctl.load.run import Measurement, at_load
from deployctl.operations.measure.run import default_folder, measure

if TYPE_CHECKING:
    from rich.table import Table

    from deployctl.load.slo import Slo
    from deployctl_loadtest.result import Setup
    from deployctl_loadtest.series import Limit, Point, Series, Variable

FILE = "series.json"


def parse(text: str) -> "tuple[Variable, list[float]]":
    """Reads `users=1,2,4` or `rate=0.5,1,2`.

    Raises:
        InputError: it is neither.
    """
    name, _, values = text.partition("=")
    hint = "write for example --sweep users=1,2,4,8 or --sweep rate=0.5,1,2"
    if name not in ("users", "rate") or not values:
        raise InputError(f"{text!r} is no sweep", where="--sweep", hint=hint)
    found: list[float] = []
    for word in values.split(","):
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        whole = name == "rate" or value == int(value) if math.isfinite(value) else False
        if not (math.isfinite(value) and value > 0 and whole):
            kind = "a number of users" if name == "users" else "a rate"
            raise InputError(f"{word!r} is not {kind}", where="--sweep", hint=hint)
        if value in found:
            raise InputError(f"{word} is given twice", where="--sweep")
        found.append(value)
    return ("users" if name == "users" else "rate"), found


def nth(setup: "Setup", variable: "Variable", value: float, number: int) -> "Setup":
    """The setup of a series' run `number`: with this load, and prompts of its own."""
    # The same prompts again would be answered from the prefix cache that the last run filled.
    seed = (setup.seed + number * 0x9E3779B1) % 2**48
    return dataclasses.replace(at_load(setup, variable, value), seed=seed)


def sweep(
    setup: "Setup",
    endpoint: Endpoint,
    folder: Path | None,
    asked: "tuple[Variable, list[float]]",
    slo: "Slo | None",
    tell: Tell = silent,
) -> "tuple[Series, Path]":
    """Measures each load in turn and writes the series' folder.

    Ctrl-C ends the sweep with the run that it interrupts. Raises what a single run does.
    """
    variable, values = asked
    recorder = Recorder("sweep", variable, setup, folder)
    for number, value in enumerate(values):
        tell(Event("note", f"{number + 1}/{len(values)}  {variable} = {value:g}"))
        measured = measure(
            nth(setup, variable, value, number),
            endpoint,
            recorder.folder / f"{variable}-{value:g}",
            slo=slo,
            tell=tell,
        )
        recorder.add(value, measured)
        if measured.result.interrupted:
            break
    return recorder.close(), recorder.folder


class Recorder:
    """Keeps the points of a series, and writes them down after each."""

    def __init__(
        self,
        kind: Literal["sweep", "find_max"],
        variable: "Variable",
        setup: "Setup",
        folder: Path | None,
    ) -> None:
        from deployctl.load import folder as folders

        now = datetime.now(UTC)
        self._kind: Literal["sweep", "find_max"] = kind
        self._variable: Variable = variable
        self._started = now.isoformat(timespec="seconds")
        self.folder = folders.create(folder or default_folder(setup), holding=FILE)
        self.points: list[Point] = []

    def add(
        self,
        value: float,
        measured: Measurement,
        held: Literal["yes", "no", "unclear"] | None = None,
        why: str | None = None,
    ) -> "Point":
        """Adds a point, and returns it."""
        from deployctl_loadtest.series import Point

        point = Point(value, measured.folder.name, measured.result, held, why)
        self.points.append(point)
        self.close()
        return point

    def close(self, limit: "Limit | None" = None) -> "Series":
        """Writes series.json, and returns the series.

        Raises:
            StateError: it cannot be written.
        """
        from deployctl.errors import StateError
        from deployctl_loadtest.series import VERSION, Series

        series = Series(
            version=VERSION,
            kind=self._kind,
            started=self._started,
            variable=self._variable,
            points=list(self.points),
            limit=limit,
            interrupted=any(point.result.interrupted for point in self.points),
        )
        path = self.folder / FILE
        try:
            path.write_text(json.dumps(series.to_dict(), indent=2, allow_nan=False) + "\n")
        except OSError as error:
            raise StateError(
                f"the series could not be written: {error.strerror}",
                where=str(path),
                hint="each run's own result is in the folders beside it",
            ) from error
        return series


def show(series: "Series", where: Path) -> None:
    """Prints the series: a line a run, what to know of it, and the answer of a search."""
    from rich.text import Text

    out.print(table(series))
    out.print(Text("Latencies in ms.", style="dim"))
    for point in series.points:
        for verdict in point.result.verdicts:
            if verdict.level != "note":
                style = "bold red" if verdict.level == "bad" else "yellow"
                text = f"{series.variable} {point.value:g}: {verdict.level}: {verdict.text}"
                out.print(Text(text, style=style))
    if series.limit is not None:
        out.print(f"\n{series.limit.text}", style="bold")
    out.print(f"\nReport     {where / 'report.html'}")


def table(series: "Series") -> "Table":
    """The runs side by side. Latencies in milliseconds."""
    from rich.table import Table

    from deployctl.reports.wording import number

    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    made.add_column(series.variable, justify="right", style="bold")
    columns = ["req/s", "tok/s", "TTFT p50", "p95", "ITL p99", "E2E p95"]
    for column in (*columns, "failed", "trust"):
        made.add_column(column, justify="right")
    judged = any(point.result.slo is not None for point in series.points)
    if judged:
        made.add_column("good/s", justify="right")
        made.add_column("SLO")
    for point in series.points:
        result = point.result
        latency = result.latency
        cells = [
            f"{point.value:g}",
            number(result.throughput.requests_per_s),
            number(result.throughput.output_tokens_per_s),
        ]
        for spread, name in (
            (latency.ttft_s, "p50"),
            (latency.ttft_s, "p95"),
            (latency.itl_s, "p99"),
            (latency.e2e_s, "p95"),
        ):
            cells.append("-" if spread is None else number(1000 * getattr(spread, name)))
        cells.append(str(result.requests.failed))
        cells.append("yes" if result.trustworthy else "no")
        if judged:
            cells.append("-" if result.slo is None else number(result.slo.goodput_per_s))
            cells.append("-" if result.slo is None else result.slo.verdict)
        made.add_row(*cells)
    return made
