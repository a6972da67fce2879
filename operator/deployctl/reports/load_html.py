"""A load result as one HTML file that needs no network."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from deployctl.reports import wording
from deployctl_loadtest.result import LoadResult, ServerMoment
from deployctl_loadtest.sample import Sample

_TEMPLATE = Path(__file__).with_name("report.html.j2")


def render(
    result: LoadResult, samples: Sequence[Sample], moments: Sequence[ServerMoment] = ()
) -> str:
    """Returns the document. Everything that came from outside is escaped.

    `moments` is the server's side of it, if there is one.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    from deployctl.reports import plots, plots_requests, plots_server

    rows = wording.latency_rows(result)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        result=result,
        title=wording.title(result),
        style=Markup(style()),  # noqa: S704
        setup=wording.setup_line(result),
        started=f"{datetime.fromisoformat(result.started):%d %B %Y, %H:%M UTC}",
        tiles=_tiles(result),
        columns=wording.COLUMNS,
        rows=rows,
        objectives=wording.objectives(result),
        facts=wording.facts(result),
        failures=wording.failures(result),
        # Our own SVG: matplotlib escapes the text in it.
        latency_plot=Markup(plots.latency(result, samples)) if rows else "",  # noqa: S704
        timeline_plot=Markup(plots.timeline(result, samples)) if samples else "",  # noqa: S704
        server_plot=Markup(plots_server.timeline(result, samples, moments)) if moments else "",  # noqa: S704
        waterfall_plot=Markup(plots_requests.waterfall(result, samples)) if samples else "",  # noqa: S704
        agreement=wording.agreement(result),
    )


def style() -> str:
    """The style sheet of every report."""
    return _TEMPLATE.with_name("report.css").read_text(encoding="utf-8")


def _tiles(result: LoadResult) -> list[tuple[str, str]]:
    """The four figures that are looked for first."""
    number = wording.number
    tiles = [(number(result.throughput.output_tokens_per_s), "output tokens/s")]
    for name, spread in (("TTFT", result.latency.ttft_s), ("ITL", result.latency.itl_s)):
        if spread is not None:
            tiles.append((f"{number(spread.p95 * 1000)} ms", f"{name} p95"))
    if result.latency.e2e_s is not None:
        tiles.append((f"{number(result.latency.e2e_s.p95)} s", "E2E p95"))
    tiles.append((number(result.throughput.requests_per_s), "requests/s"))
    if result.slo is not None:
        tiles.append((number(result.slo.goodput_per_s), "goodput, requests/s"))
    requests = result.requests
    share = requests.failed / max(1, requests.ok + requests.failed)
    tiles.append((f"{share:.1%}" if requests.failed else "0", "failed"))
    return tiles
