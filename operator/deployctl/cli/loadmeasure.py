"""One measured run: Locust, the server's own figures, and the result folder."""

import importlib.metadata
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deployctl.cli.console import story
from deployctl.cli.endpoint import Endpoint
from deployctl.errors import TargetError

if TYPE_CHECKING:
    from deployctl.load.slo import Slo
    from deployctl.metrics import Snapshot
    from deployctl_loadtest.result import LoadResult, Server, Setup


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
        StateError: the result could not be written.
    """
    from deployctl.cli.loadprogress import LoadProgress
    from deployctl.load import folder, locust
    from deployctl.load.slo import hold
    from deployctl.load.summary import summarize
    from deployctl.reports import load_html
    from deployctl_loadtest import writer

    now = datetime.now(UTC)
    name = endpoint.service or _file_name(setup.model)
    where = folder.create(out_folder or folder.default(name, now)).absolute()
    story(announcement(setup))
    before = _scrape(endpoint)
    with LoadProgress(setup) as progress:
        interrupted = locust.run(setup, where, endpoint.api_key, progress.tell)
    after = _scrape(endpoint) if before is not None else None
    samples, reports, lost = writer.read(where)
    result = summarize(
        setup,
        samples,
        reports,
        lost=lost,
        started=now.isoformat(timespec="seconds"),
        tools={name: importlib.metadata.version(name) for name in ("deployctl", "locust")},
        interrupted=interrupted,
        server=_server(before, after),
    )
    result = hold(result, samples, slo, gated=gated)
    folder.write(where, result, samples)
    _write_report(where, load_html.render(result, samples))
    return result, _shown(where)


def announcement(setup: "Setup") -> str:
    """What is going to happen, in one line."""
    if setup.mode == "open":
        load = f"{setup.rate:g} requests/s ({setup.arrivals})"
    else:
        load = "1 user" if setup.users == 1 else f"{setup.users} users"
    parts = [f"{setup.ramp_s:g} s ramp"] if setup.ramp_s else []
    parts += [f"{setup.warmup_s:g} s warm-up"] if setup.warmup_s else []
    if setup.requests is None:
        parts.append(f"{setup.duration_s:g} s measured")
    else:
        parts.append(f"{setup.requests:,} requests in all")
    return f"{load} against {setup.model} at {setup.url}: {', then '.join(parts)}"


def _write_report(where: Path, html: str) -> None:
    from deployctl.errors import StateError

    try:
        (where / "report.html").write_text(html, encoding="utf-8")
    except OSError as error:
        raise StateError(
            f"the report could not be written: {error.strerror}", where=str(where)
        ) from error


def _scrape(endpoint: Endpoint) -> "Snapshot | None":
    """The server's own figures, if it has any: other engines are welcome."""
    from deployctl import metrics

    try:
        return metrics.scrape(endpoint.url, endpoint.api_key)
    except TargetError:
        return None


def _server(before: "Snapshot | None", after: "Snapshot | None") -> "Server | None":
    from deployctl.metrics import between
    from deployctl_loadtest.result import Server

    if before is None or after is None:
        return None
    delta = between(before, after)
    if delta.generation_tokens is None or delta.prompt_tokens is None:
        return None
    return Server(
        output_tokens=round(delta.generation_tokens),
        input_tokens=round(delta.prompt_tokens),
        client_output_tokens=0,  # filled in by `summarize`
        ttft_mean_s=delta.ttft.mean() if delta.ttft else None,
        itl_mean_s=delta.itl.mean() if delta.itl else None,
        queue_mean_s=delta.queue.mean() if delta.queue else None,
        preemptions=None if delta.preemptions is None else round(delta.preemptions),
        prefix_cache_hit_rate=delta.prefix_hit_rate,
    )


def _file_name(model: str) -> str:
    from deployctl.spec import service_name

    return service_name(model)


def _shown(where: Path) -> Path:
    """Relative to the working directory, if it is below it."""
    here = Path.cwd()
    return where.relative_to(here) if where.is_relative_to(here) else where
