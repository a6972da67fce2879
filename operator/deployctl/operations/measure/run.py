"""A load test as a user asks for one: a folder of its own, and a report for a browser."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

from deployctl import files, host
from deployctl.endpoint import Endpoint
from deployctl.errors import StateError
from deployctl.events import Event, Tell, silent
from deployctl.load import folder as folders
from deployctl.load import run as loads
from deployctl.load.run import Measurement, UnwrittenError
from deployctl.load.slo import Slo
from deployctl.reports import load as load_reports
from deployctl.spec import service_name
from deployctl_loadtest.result import Setup


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
    folder = folder or default_folder(setup)
    measurement = loads.run(setup, endpoint, folder, slo=slo, gated=gated, tell=tell)
    html = load_reports.html(measurement.result, measurement.samples, measurement.moments)
    try:
        files.write_text(measurement.folder / "report.html", html)
    except StateError as error:
        raise UnwrittenError(error, measurement) from error
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

    There is at most one a core. The first result is kept in a folder next to the second one's,
    which is named after its number of processes.
    """
    first = measure(setup, endpoint, folder, slo=slo, gated=gated, tell=tell)
    needed = min(first.result.client.workers_needed or 0, host.cores())
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
