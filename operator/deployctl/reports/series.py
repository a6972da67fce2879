"""A series of load tests (sweep, search for the limit) as rows, markdown, JUnit and HTML."""

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from deployctl.junit import document
from deployctl.reports import load, wording
from deployctl.reports.page import page
from deployctl_loadtest.series import Series

_TEMPLATE = Path(__file__).with_name("series.html.j2")
_LATENCIES = (
    *(("TTFT", "ttft_s", "p50"), ("TTFT", "ttft_s", "p95"), ("ITL", "itl_s", "p50")),
    *(("ITL", "itl_s", "p99"), ("E2E", "e2e_s", "p95")),
)
# Short, so that a terminal of 80 columns holds them all.
COLUMNS = (
    *("req/s", "tok/s"),
    *(f"{name} {share} ms" for name, _, share in _LATENCIES),
    "failed",
)


class SeriesRow(NamedTuple):
    """One run, its cells in the order of COLUMNS."""

    load: str
    folder: str
    cells: tuple[str, ...]
    goodput: str
    verdict: str  # of the SLO; empty without one
    trusted: bool
    remarks: tuple[str, ...]

    @property
    def label(self) -> str:
        """The load, with a mark where the figures should not be believed."""
        return self.load if self.trusted else f"{self.load} ⚠"


def rows(series: Series) -> list[SeriesRow]:
    """The runs in the order in which they were measured."""
    made = []
    for point in series.points:
        result = point.result
        cells = [
            wording.number(result.throughput.requests_per_s),
            wording.number(result.throughput.output_tokens_per_s),
        ]
        for _, field, share in _LATENCIES:
            spread = getattr(result.latency, field)
            cells.append("–" if spread is None else wording.number(1000 * getattr(spread, share)))
        cells.append(f"{result.requests.failed:,}")
        judged = result.slo
        made.append(
            SeriesRow(
                load=f"{point.value:g}",
                folder=point.folder,
                cells=tuple(cells),
                goodput="" if judged is None else wording.number(judged.goodput_per_s),
                verdict="" if judged is None else judged.verdict,
                trusted=result.trustworthy,
                remarks=tuple(
                    verdict.text for verdict in result.verdicts if verdict.level != "note"
                ),
            )
        )
    return made


def title(series: Series) -> str:
    """What was tested."""
    return wording.title(series.points[0].result) if series.points else "nothing"


def kind(series: Series) -> str:
    """What kind of series it is."""
    return "Sweep" if series.kind == "sweep" else "Search for the limit"


def html(series: Series) -> str:
    """One file that needs no network. Everything that came from outside is escaped."""
    from deployctl.reports import plots_series

    return page(
        _TEMPLATE,
        {"plot": plots_series.throughput_latency(series)},
        series=series,
        kind=kind(series),
        title=title(series),
        started=f"{datetime.fromisoformat(series.started):%d %B %Y, %H:%M UTC}",
        columns=COLUMNS,
        rows=rows(series),
    )


def markdown(series: Series) -> str:
    """For a job's summary."""
    lines = [f"## {kind(series)}: {wording.plain(title(series))}", ""]
    if series.limit is not None:
        lines += [f"**{wording.plain(series.limit.text)}**", ""]
    lines.append(f"| {series.variable} | " + " | ".join((*COLUMNS, "goodput/s", "SLO")) + " |")
    lines.append("|---:|" + "---:|" * (len(COLUMNS) + 1) + "---|")
    for row in rows(series):
        cells = (row.label, *row.cells, row.goodput, row.verdict)
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    lines += [
        f"- {series.variable} {row.load}: {wording.plain(remark)}"
        for row in rows(series)
        for remark in row.remarks
    ]
    return "\n".join(lines) + "\n"


def junit(series: Series) -> str:
    """The test cases of every run of a sweep, a suite each; of a search, its answer."""
    if series.limit is not None:
        seconds = sum(p.result.window_s[1] - p.result.window_s[0] for p in series.points)
        return document([load.search(series.limit, title(series), seconds, series.started)])
    return document([load.suite(p.result, f"{series.variable}={p.value:g}") for p in series.points])
