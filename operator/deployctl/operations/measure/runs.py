"""Measured runs and their folders: a single one, given loads in a row, a search for the limit."""

import dataclasses
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from deployctl import files, host
from deployctl.endpoint import Endpoint
from deployctl.errors import InputError
from deployctl.events import Event, Tell, silent
from deployctl.load import folder as folders
from deployctl.load import limit
from deployctl.load import run as loads
from deployctl.load.client import MOST_WORKERS
from deployctl.load.limit import Held
from deployctl.load.run import Measurement, at_load
from deployctl.load.slo import Goodput, Slo, goodput
from deployctl.operations.announce.announcer import Announcer
from deployctl.operations.measure import reports
from deployctl.spec import service_name
from deployctl.spec.settings import Settings
from deployctl_loadtest.result import Setup
from deployctl_loadtest.series import VERSION, Limit, Point, Series, Variable

_HIGHEST: dict[str, float] = {"users": 8192, "rate": 4096}
_FIRST_RATE = 1.0  # requests a second, where --rate does not say where to begin


def measure(
    setup: Setup,
    endpoint: Endpoint,
    folder: Path | None = None,
    *,
    slo: Slo | None = None,
    gated: bool = False,
    tell: Tell = silent,
) -> Measurement:
    """Runs a load test, and writes its folder with report.html. Otherwise as `load.run.run`.

    `folder` is by default one of its own below `results/`.
    """
    announcer = Announcer(Settings(), tell)
    folder = folder or default_folder(setup)
    measurement = loads.run(setup, endpoint, folder, slo=slo, gated=gated, tell=tell)
    announcer.loaded(measurement.result, measurement.folder)
    reports.write_page(measurement)
    return measurement


def measure_with_enough_workers(
    setup: Setup,
    endpoint: Endpoint,
    folder: Path | None = None,
    *,
    slo: Slo | None = None,
    gated: bool = False,
    tell: Tell = silent,
) -> Measurement:
    """As `measure`, and once more with more load processes if those were too busy.

    On this machine there is at most one a core. The first result is kept in a folder next to the
    second one's, which is named after its number of processes.
    """
    first = measure(setup, endpoint, folder, slo=slo, gated=gated, tell=tell)
    most = host.cores() if setup.on is None else MOST_WORKERS
    needed = min(first.result.client.workers_needed or 0, most)
    if needed <= setup.workers or first.result.interrupted:
        return first
    kept = first.folder.with_name(f"{first.folder.name}-workers-{setup.workers}")
    first.folder.rename(kept)
    busy = f"{setup.workers} load process{'es were' if setup.workers > 1 else ' was'} too busy"
    tell(Event("heading", f"{busy} (kept in {kept}): again with {needed}"))
    more = dataclasses.replace(setup, workers=needed, seed=(setup.seed + 1) % 2**48)
    return measure(more, endpoint, first.folder, slo=slo, gated=gated, tell=tell)


def default_folder(setup: Setup) -> Path:
    """`results/NAME-TIME`, after the service or the model that is measured."""
    return folders.default(setup.service or service_name(setup.model), datetime.now(UTC))


def parse(text: str) -> tuple[Variable, list[float]]:
    """Reads `users=1,2,4` or `rate=0.5,1,2`.

    Raises:
        InputError: it is neither.
    """
    name, _, values = text.partition("=")
    hint = "write for example --sweep users=1,2,4,8 or --sweep rate=0.5,1,2"
    if name not in ("users", "rate") or not values:
        raise InputError(f"{text!r} is not a sweep", where="--sweep", hint=hint)
    asked: list[float] = []
    for word in values.split(","):
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        whole = name == "rate" or value == int(value) if math.isfinite(value) else False
        if not (math.isfinite(value) and value > 0 and whole):
            kind = "a number of users" if name == "users" else "a rate"
            raise InputError(f"{word!r} is not {kind}", where="--sweep", hint=hint)
        if value in asked:
            raise InputError(f"{word} is given twice", where="--sweep")
        asked.append(value)
    return ("users" if name == "users" else "rate"), asked


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
            "--find-max needs an SLO",
            where="--find-max",
            hint="add for example --slo ttft_p95=500ms,itl_p95=50ms",
        )
    variable: Variable = "users" if by_users else "rate"
    recorder = Recorder("find_max", variable, setup, folder)
    tried = _Tried(setup, endpoint, recorder, slo, tell)
    start = float(setup.users) if by_users else setup.rate or _FIRST_RATE
    search = limit.find(start=start, highest=_HIGHEST[variable], whole=by_users)
    end = None
    try:
        asked = next(search)
        while (held := tried.attempt(*asked)) is not None:
            asked = search.send(held)
    except StopIteration as ended:
        end = ended.value
    answer = limit.answer(end, slo.text, variable, recorder.points, tried.goodput)
    return recorder.close(answer), recorder.folder


class _Tried:
    """Measures the loads that a search asks for, and keeps what came of each."""

    def __init__(
        self, setup: Setup, endpoint: Endpoint, recorder: "Recorder", slo: Slo, tell: Tell
    ) -> None:
        self.recorder = recorder
        self.goodput: dict[float, Goodput] = {}
        self._setup, self._endpoint, self._slo, self._tell = setup, endpoint, slo, tell

    def attempt(self, load: float, number: int) -> Held | None:
        """Whether the SLO holds at a load; the second attempt is twice as long, and so on.

        None if Ctrl-C ended the run; it is recorded.
        """
        variable, longer = self.recorder.variable, 2 ** (number - 1)
        again = f", again and {longer} times as long" if number > 1 else ""
        self._tell(Event("heading", f"{variable} = {load:g}{again}"))
        setup = dataclasses.replace(self._setup, duration_s=self._setup.duration_s * longer)
        measured = measure(
            nth(setup, variable, load, len(self.recorder.points)),
            self._endpoint,
            self.recorder.folder / (f"{variable}-{load:g}" + (f"-{number}" if again else "")),
            slo=self._slo,
            tell=self._tell,
        )
        result = measured.result
        held, why = limit.decide(result, measured.samples)
        if result.interrupted:
            held, why = "unclear", "interrupted"
        self.goodput[load] = goodput(self._slo, measured.samples, result.window_s)
        said: Literal["yes", "no", "unclear"] = "unclear" if held == "client" else held
        self.recorder.add(load, measured, said, why)
        shown = {"yes": "held", "no": "not held"}.get(held, held)
        self._tell(Event("note", f"{shown}: {why}"))
        return None if result.interrupted else held


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
        self.variable: Variable = variable
        self._started = now.isoformat(timespec="seconds")
        self.folder = folders.create(folder or default_folder(setup), holding=folders.SERIES)
        self.points: list[Point] = []

    def add(
        self,
        value: float,
        measured: Measurement,
        held: Literal["yes", "no", "unclear"] | None = None,
        why: str | None = None,
    ) -> None:
        """One more point."""
        self.points.append(Point(value, measured.folder.name, measured.result, held, why))
        self.close()

    def close(self, limit: Limit | None = None) -> Series:
        """Writes series.json, and returns the series.

        Raises:
            StateError: it cannot be written.
        """
        series = Series(
            version=VERSION,
            kind=self._kind,
            started=self._started,
            variable=self.variable,
            points=list(self.points),
            limit=limit,
            interrupted=any(point.result.interrupted for point in self.points),
        )
        files.write_text(
            self.folder / folders.SERIES,
            json.dumps(series.to_dict(), indent=2, allow_nan=False) + "\n",
            what="the series",
            hint="each run's own result is in its folder",
        )
        return series
