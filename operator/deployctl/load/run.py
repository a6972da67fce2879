"""One measured run: Locust, the server's own figures, and the result folder."""

import dataclasses
import importlib.metadata
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from deployctl import files
from deployctl.endpoint import Endpoint
from deployctl.errors import StateError
from deployctl.events import Event, Tell, silent
from deployctl.load import (
    exposition,
    folder,
    gate,
    incluster,
    locust,
    server,
    summary,
    timeline,
    tokenizer,
)
from deployctl.load.slo import Slo
from deployctl_loadtest import writer
from deployctl_loadtest.result import LoadResult, ServerMoment, Setup
from deployctl_loadtest.sample import Sample
from deployctl_loadtest.series import Variable
from deployctl_loadtest.words import Vocabulary

_TOOLS = ("deployctl", "locust")  # whose versions are in the result


class Measurement(NamedTuple):
    """One run: its figures, and what they were computed from."""

    result: LoadResult
    samples: list[Sample]
    moments: list[ServerMoment]  # the server's side, where it tells
    folder: Path  # relative to the working directory, if it is below it


class UnwrittenError(StateError):
    """The disk was full, or went away; `measurement` is what was measured all the same."""

    def __init__(self, error: StateError, measurement: Measurement) -> None:
        super().__init__(error.message, where=error.where, hint=error.hint)
        self.measurement = measurement


def run(
    setup: Setup,
    endpoint: Endpoint,
    where: Path,
    *,
    slo: Slo | None = None,
    gated: bool = False,
    tell: Tell = silent,
) -> Measurement:
    """Runs a load test, and writes the folder `where`: samples, summary and timeline.

    `slo` is judged; `gated` adds the gate's answer to the result. Tells what is going to happen
    (a phase, with the setup) and how far it is (progress, with `locust.Progress`).

    Raises:
        InputError: the folder cannot be made, or holds a result.
        TargetError: Locust could not be started, or ended with nothing to report.
        InterruptedByUserError: Ctrl-C, before anything was measured.
        UnwrittenError: the result could not be written whole; it holds what was measured.
    """
    now = datetime.now(UTC)
    where = folder.create(where).absolute()
    tell(Event("phase", announcement(setup), setup))
    if (vocabulary := tokenizer.learn(endpoint, setup, tell)) is not None:
        setup = dataclasses.replace(setup, prompt_lengths="exact")
        _save(vocabulary, where / locust.VOCABULARY)
    watch = server.watch(endpoint, setup.cut_s + setup.duration_s)
    with _ready(setup, where, endpoint, tell) as make, watch:
        began_s, ended = time.monotonic(), make()
    samples, reports, lost = writer.read(where)
    if setup.recorded_lengths is not None and vocabulary is not None:
        # A conversation is one request at least: had more been asked, there would be more.
        first = vocabulary.counted_first
        exact = first is None or len(samples) <= first
        setup = dataclasses.replace(setup, recorded_lengths="exact" if exact else "about")
    if setup.on is None:  # another machine's clock says nothing here
        began_s = min((report.started_s for report in reports), default=began_s)
    began_s = ended.began_s or began_s
    moments = server.moments(watch.seen, began_s)
    result = summary.summarize(
        setup,
        samples,
        reports,
        lost=lost,
        started=now.isoformat(timespec="seconds"),
        tools=_tools(ended),
        ended=ended,
        server=server.server(
            watch.seen,
            moments,
            samples,
            (setup.cut_s, setup.cut_s + setup.duration_s),
            missed=watch.missed,
            to_the_end=watch.to_the_end,
        ),
    )
    result = gate.hold(result, samples, slo, gated=gated)
    measurement = Measurement(result, samples, moments, _shown(where))
    _write(measurement, ended.unwritten)
    return measurement


def _ready(
    setup: Setup, where: Path, endpoint: Endpoint, tell: Tell
) -> AbstractContextManager[Callable[[], locust.Ended]]:
    """What makes the load, once it can, on this machine or where the setup says."""
    if setup.on is None:
        return nullcontext(partial(locust.run, setup, where, endpoint, tell))
    return incluster.ready(setup, where, endpoint, tell)


def _tools(ended: locust.Ended) -> dict[str, str]:
    """Versions of what measured."""
    found = {name: importlib.metadata.version(name) for name in _TOOLS}
    return {**found, "locust": ended.locust} if ended.locust else found


def _save(vocabulary: Vocabulary, path: Path) -> None:
    try:
        vocabulary.save(path)
    except OSError as error:
        raise StateError(
            f"the folder cannot be written: {error.strerror}", where=str(path)
        ) from error


def _write(measurement: Measurement, unwritten: str | None) -> None:
    """Writes the folder. `unwritten` is why samples are missing already, if they are."""
    result, samples, moments, where = measurement
    end_s = max([result.window_s[1], *(s.started_at_s + s.duration_s for s in samples)])
    try:
        folder.write(where, result, samples)
        table = timeline.rows(samples, moments, end_s)
        files.write_text(where / "timeline.csv", timeline.to_csv(table))
        files.write_text(where / "metrics.prom", exposition.text(result, where.resolve().name))
        if unwritten is not None:
            raise StateError(
                f"the samples could not be written: {unwritten}",
                where=str(where),
                hint="the result holds what was measured until then",
            )
    except StateError as error:
        raise UnwrittenError(error, measurement) from error


def _shown(where: Path) -> Path:
    here = Path.cwd()
    return where.relative_to(here) if where.is_relative_to(here) else where


def at_load(setup: Setup, variable: Variable, value: float) -> Setup:
    """The setup at one load: so many users (closed loop), or requests a second (open loop)."""
    if variable == "users":
        users = max(1, int(value))
        return dataclasses.replace(
            setup,
            mode="closed",
            users=users,
            rate=None,
            arrivals=None,
            workers=min(setup.workers, users),
        )
    arrivals = setup.arrivals or "poisson"
    return dataclasses.replace(setup, mode="open", users=0, rate=value, arrivals=arrivals)


def announcement(setup: Setup) -> str:
    """What is going to happen, in one line."""
    if setup.mode == "open":
        load = f"{setup.rate:g} requests/s ({setup.arrivals})"
    elif setup.mode == "trace":
        fast = f", {setup.trace_speed:g} times as fast" if setup.trace_speed != 1 else ""
        load = f"{setup.trace}{fast}"
    else:
        load = "1 user" if setup.users == 1 else f"{setup.users} users"
    parts = [f"{setup.ramp_s:g} s ramp"] if setup.ramp_s else []
    parts += [f"{setup.warmup_s:g} s warm-up"] if setup.warmup_s else []
    if setup.mode == "trace":
        parts.append("until it ends")
    elif setup.requests is None:
        parts.append(f"{setup.duration_s:g} s measured")
    else:
        parts.append(f"{setup.requests:,} requests in all")
    return f"{load} against {setup.model} at {setup.url}: {', then '.join(parts)}"
