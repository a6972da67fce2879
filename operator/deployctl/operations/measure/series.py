"""Several runs of a load test in a row: given loads (`--sweep`), or a search for the limit."""

import dataclasses
import json
import math
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from deployctl import files
from deployctl.endpoint import Endpoint
from deployctl.errors import InputError
from deployctl.events import Event, Tell, silent
from deployctl.load import folder as folders
from deployctl.load import limit, search
from deployctl.load.run import Measurement, at_load
from deployctl.load.search import Held
from deployctl.load.slo import Goodput, Slo, goodput
from deployctl.operations.measure.run import default_folder, measure
from deployctl_loadtest.result import Setup
from deployctl_loadtest.series import VERSION, Limit, Point, Series, Variable

FILE = "series.json"
_HIGHEST: dict[str, float] = {"users": 8192, "rate": 4096}
_FIRST_RATE = 1.0  # requests a second, where --rate does not say where to begin


class _InterruptedError(Exception):
    """Ctrl-C ended the run that was under way."""


def parse(text: str) -> tuple[Variable, list[float]]:
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


def nth(setup: Setup, variable: Variable, value: float, number: int) -> Setup:
    """The setup of a series' run `number`: with this load, and prompts of its own."""
    # The same prompts again would be answered from the prefix cache that the last run filled.
    seed = (setup.seed + number * 0x9E3779B1) % 2**48
    return dataclasses.replace(at_load(setup, variable, value), seed=seed)


def sweep(
    setup: Setup,
    endpoint: Endpoint,
    folder: Path | None,
    asked: tuple[Variable, list[float]],
    slo: Slo | None,
    tell: Tell = silent,
) -> tuple[Series, Path]:
    """Measures each load in turn, and writes the series' folder.

    Ctrl-C ends the sweep with the run that it interrupts. Raises what a single run does.
    """
    variable, values = asked
    recorder = Recorder("sweep", variable, setup, folder)
    for number, value in enumerate(values):
        tell(Event("heading", f"{number + 1}/{len(values)}  {variable} = {value:g}"))
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


def find_max(
    setup: Setup,
    endpoint: Endpoint,
    folder: Path | None,
    slo: Slo | None,
    *,
    by_users: bool,
    tell: Tell = silent,
) -> tuple[Series, Path]:
    """Searches for the limit, and writes the series' folder.

    `by_users`: the load is users (closed loop), from the setup's; else a rate (open loop).

    Raises:
        InputError: there is no SLO. Otherwise what a single run raises.
    """
    if slo is None:
        raise InputError(
            "a limit is what an SLO allows",
            where="--find-max",
            hint="add for example --slo ttft_p95=500ms,itl_p95=50ms",
        )
    variable: Variable = "users" if by_users else "rate"
    recorder = Recorder("find_max", variable, setup, folder)
    good: dict[float, Goodput] = {}

    def attempt(load: float, number: int) -> Held:
        again = f", again and {2 ** (number - 1)} times as long" if number > 1 else ""
        tell(Event("heading", f"{variable} = {load:g}{again}"))
        longer = dataclasses.replace(setup, duration_s=setup.duration_s * 2 ** (number - 1))
        name = f"{variable}-{load:g}" + (f"-{number}" if number > 1 else "")
        measured = measure(
            nth(longer, variable, load, len(recorder.points)),
            endpoint,
            recorder.folder / name,
            slo=slo,
            tell=tell,
        )
        result = measured.result
        held, why = limit.decide(result, measured.samples)
        if result.interrupted:
            held, why = "unclear", "interrupted"
        good[load] = goodput(slo, measured.samples, result.window_s)
        said: Literal["yes", "no", "unclear"] = "unclear" if held == "client" else held
        point = recorder.add(load, measured, said, why)
        shown = {"yes": "held", "no": "not held"}.get(held, held)
        tell(Event("note", f"{shown}: {why}", point))
        if result.interrupted:
            raise _InterruptedError
        return held

    found = None
    with suppress(_InterruptedError):
        found = search.find(
            attempt,
            start=float(setup.users) if by_users else setup.rate or _FIRST_RATE,
            highest=_HIGHEST[variable],
            whole=by_users,
        )
    answer = limit.answer(found, slo.text, variable, recorder.points, good)
    return recorder.close(answer), recorder.folder


class Recorder:
    """Keeps the points of a series, and writes them down after each."""

    def __init__(
        self,
        kind: Literal["sweep", "find_max"],
        variable: Variable,
        setup: Setup,
        folder: Path | None,
    ) -> None:
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
    ) -> Point:
        """Adds a point, and returns it."""
        point = Point(value, measured.folder.name, measured.result, held, why)
        self.points.append(point)
        self.close()
        return point

    def close(self, limit: Limit | None = None) -> Series:
        """Writes series.json, and returns the series.

        Raises:
            StateError: it cannot be written.
        """
        series = Series(
            version=VERSION,
            kind=self._kind,
            started=self._started,
            variable=self._variable,
            points=list(self.points),
            limit=limit,
            interrupted=any(point.result.interrupted for point in self.points),
        )
        files.write_text(
            self.folder / FILE,
            json.dumps(series.to_dict(), indent=2, allow_nan=False) + "\n",
            what="the series",
            hint="each run's own result is in the folders beside it",
        )
        return series
