"""One measured run: Locust, the server's own figures, and the result folder."""

import dataclasses
import importlib.metadata
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from deployctl.cli.console import story
from deployctl.endpoint import Endpoint
from deployctl.errors import StateError
from deployctl.operations.measure import server as serverside
from deployctl.operations.measure import tokenizer as loadtokens

if TYPE_CHECKING:
    from deployctl.cli.loadtest.progress import LoadProgress
    from deployctl.load.slo import Slo
    from deployctl_loadtest.result import LoadResult, ServerMoment, Setup
    from deployctl_loadtest.sample import Sample
    from deployctl_loadtest.words import Vocabulary


def measure(
    setup: "Setup",
    endpoint: Endpoint,
    out_folder: Path | None,
    *,
    slo: "Slo | None" = None,
    gated: bool = False,
) -> "tuple[LoadResult, Path]":
    """Runs a load test and writes its folder; returns the result and where it is.

    `slo` is judged; `gated` adds the gate's answer to the result.

    Raises:
        InputError: the folder cannot be made, or holds a result.
        TargetError: Locust could not be started, or ended with nothing to report.
        UnwrittenError: the result could not be written whole; it holds what was measured.
    """
    from deployctl.cli.loadtest.progress import LoadProgress
    from deployctl.load import folder
    from deployctl.reports import load_html

    name = endpoint.service or file_name(setup.model)
    out_folder = out_folder or folder.default(name, datetime.now(UTC))
    with LoadProgress(setup) as progress:
        run = measured(setup, endpoint, out_folder, slo=slo, gated=gated, progress=progress)
    html = load_html.render(run.result, run.samples, run.looks)
    try:
        _write(run.where / "report.html", html)
    except StateError as error:
        raise UnwrittenError(error, run) from error
    return run.result, _shown(run.where)


class Measured(NamedTuple):
    """One run: its figures, and what they were computed from."""

    result: "LoadResult"
    samples: "list[Sample]"
    looks: "list[ServerMoment]"
    where: Path  # absolute


class UnwrittenError(StateError):
    """The disk was full, or went away; `run` is what was measured all the same."""

    def __init__(self, error: StateError, run: Measured) -> None:
        super().__init__(error.message, where=error.where, hint=error.hint)
        self.run = run


def measured(
    setup: "Setup",
    endpoint: Endpoint,
    out_folder: Path,
    *,
    slo: "Slo | None" = None,
    gated: bool = False,
    progress: "LoadProgress | None" = None,
) -> Measured:
    """As `measure`, without the report for a browser; says nothing without a `progress`.

    Raises:
        UnwrittenError: the result could not be written whole; it holds what was measured.
    """
    from deployctl.load import command, folder, locust, timeline
    from deployctl.load.gate import hold
    from deployctl.load.summary import summarize
    from deployctl_loadtest import writer

    now = datetime.now(UTC)
    where = folder.create(out_folder).absolute()
    if (vocabulary := loadtokens.learn(endpoint, setup)) is not None:
        setup = dataclasses.replace(setup, prompt_lengths="exact")
        _save(vocabulary, where / command.VOCABULARY)
    if progress is not None:
        story(announcement(setup))
    watch = serverside.watch(endpoint, setup.cut_s + setup.duration_s)
    with watch:
        apart_s = time.monotonic() - time.time()
        ended = locust.run(
            setup,
            where,
            endpoint.api_key,
            progress.tell if progress is not None else lambda _: None,
            headers=endpoint.headers,
        )
    samples, reports, lost = writer.read(where)
    if setup.recorded_lengths is not None and vocabulary is not None:
        # A conversation is one request at least: had more been asked, there would be more.
        first = vocabulary.counted_first
        exact = first is None or len(samples) <= first
        setup = dataclasses.replace(setup, recorded_lengths="exact" if exact else "about")
    # The load processes tell the run's start by the wall clock, which may be set before its end.
    epoch = min((report.started_unix_s for report in reports), default=now.timestamp())
    looks = serverside.moments(watch.seen, epoch + apart_s)
    result = summarize(
        setup,
        samples,
        reports,
        lost=lost,
        started=now.isoformat(timespec="seconds"),
        tools={name: importlib.metadata.version(name) for name in ("deployctl", "locust")},
        interrupted=ended.interrupted,
        unwritten=ended.unwritten,
        server=serverside.server(
            watch.seen,
            looks,
            samples,
            (setup.cut_s, setup.cut_s + setup.duration_s),
            to_the_end=watch.to_the_end,
        ),
    )
    result = hold(result, samples, slo, gated=gated)
    run = Measured(result, samples, looks, where)
    end_s = max([result.window_s[1], *(s.started_at_s + s.duration_s for s in samples)])
    try:
        folder.write(where, result, samples)
        _write(where / "timeline.csv", timeline.to_csv(timeline.rows(samples, looks, end_s)))
    except StateError as error:
        raise UnwrittenError(error, run) from error
    if ended.unwritten is not None:
        raise UnwrittenError(
            StateError(
                f"the samples could not be written: {ended.unwritten}",
                where=str(where),
                hint="the result holds what was measured until then",
            ),
            run,
        )
    return run


def measure_with_enough_workers(
    setup: "Setup",
    endpoint: Endpoint,
    out_folder: Path | None,
    *,
    slo: "Slo | None" = None,
    gated: bool = False,
    cores: int,
) -> "tuple[LoadResult, Path]":
    """As `measure`, and once more with more load processes if those were too busy.

    There are at most `cores` of them. The first result is kept beside the second one, in a
    folder that is named after its number of processes.
    """
    result, where = measure(setup, endpoint, out_folder, slo=slo, gated=gated)
    needed = min(result.client.workers_needed or 0, cores)
    if needed <= setup.workers or result.interrupted:
        return result, where
    kept = where.with_name(f"{where.name}-workers-{setup.workers}")
    where.rename(kept)
    story(
        f"{setup.workers} load process{'es were' if setup.workers > 1 else ' was'} too busy "
        f"(kept in {kept}): again with {needed}"
    )
    more = dataclasses.replace(setup, workers=needed, seed=(setup.seed + 1) % 2**48)
    return measure(more, endpoint, where, slo=slo, gated=gated)


def announcement(setup: "Setup") -> str:
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


def _save(vocabulary: "Vocabulary", path: Path) -> None:
    try:
        vocabulary.save(path)
    except OSError as error:
        raise StateError(
            f"the folder cannot be written: {error.strerror}", where=str(path)
        ) from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StateError(
            f"the report could not be written: {error.strerror}", where=str(path)
        ) from error


def file_name(model: str) -> str:
    """A model's name as a folder can have it."""
    from deployctl.spec import service_name

    return service_name(model)


def _shown(where: Path) -> Path:
    """Relative to the working directory, if it is below it."""
    here = Path.cwd()
    return where.relative_to(here) if where.is_relative_to(here) else where
