"""`deployctl loadtest --find-max goodput`: the highest load at which an SLO holds."""

import dataclasses
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deployctl.endpoint import Endpoint
from deployctl.errors import InputError
from deployctl.events import Event, Tell, silent
from deployctl.operations.measure import series as loadseries
from deployctl.operations.measure.run import measure

if TYPE_CHECKING:
    from deployctl.load.search import Held
    from deployctl.load.slo import Slo
    from deployctl_loadtest.result import Setup
    from deployctl_loadtest.series import Series, Variable

_HIGHEST: dict[str, float] = {"users": 8192, "rate": 4096}
_FIRST_RATE = 1.0  # requests a second, where --rate does not say where to begin


class _InterruptedError(Exception):
    """Ctrl-C ended the run that was under way."""


def find(
    setup: "Setup",
    endpoint: Endpoint,
    folder: Path | None,
    slo: "Slo | None",
    *,
    by_users: bool,
    tell: Tell = silent,
) -> "tuple[Series, Path]":
    """Searches for the limit, and writes the series' folder.

    `by_users`: the load is users (closed loop), from the setup's; else a rate (open loop).

    Raises:
        InputError: there is no SLO. Otherwise what a single run raises.
    """
    from deployctl.load import limit, search
    from deployctl.load.slo import Goodput, goodput

    if slo is None:
        raise InputError(
            "a limit is what an SLO allows",
            where="--find-max",
            hint="add for example --slo ttft_p95=500ms,itl_p95=50ms",
        )
    variable: Variable = "users" if by_users else "rate"
    recorder = loadseries.Recorder("find_max", variable, setup, folder)
    good: dict[float, Goodput] = {}

    def attempt(load: float, number: int) -> "Held":
        again = f", again and {2 ** (number - 1)} times as long" if number > 1 else ""
        tell(Event("note", f"{variable} = {load:g}{again}"))
        longer = dataclasses.replace(setup, duration_s=setup.duration_s * 2 ** (number - 1))
        name = f"{variable}-{load:g}" + (f"-{number}" if number > 1 else "")
        measured = measure(
            loadseries.nth(longer, variable, load, len(recorder.points)),
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
