"""What `loadtest` does beside measuring: SLO, gate, and the files that a pipeline reads."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployctl.cli.console import story
from deployctl.errors import InputError, SloMissedError, StateError

if TYPE_CHECKING:
    from deployctl.load.slo import Slo
    from deployctl_loadtest.result import LoadResult
    from deployctl_loadtest.series import Series

SloOption = Annotated[
    str | None,
    typer.Option(
        "--slo",
        help="What is acceptable: ttft_p95=500ms,itl_p99=50ms,error_rate=0.1%.",
        metavar="SLO",
        show_default=False,
    ),
]
FailOnBreachOption = Annotated[
    bool,
    typer.Option("--fail-on-breach", help="Exit with 5 if the SLO is not held."),
]
JunitOption = Annotated[
    Path | None,
    typer.Option(
        "--junit",
        help="Also write the verdicts as JUnit XML there.",
        metavar="FILE",
        show_default=False,
    ),
]


def read(slo: str | None, fail_on_breach: bool) -> "Slo | None":
    """The SLO, or None.

    Raises:
        InputError: it makes no sense, or a gate was asked for without one.
    """
    from deployctl.load import slo as slos

    if slo is not None:
        return slos.parse(slo)
    if fail_on_breach:
        raise InputError(
            "there is no SLO to fail on",
            where="--fail-on-breach",
            hint="add for example --slo ttft_p95=500ms,error_rate=0.1%",
        )
    return None


def write_reports(where: Path, result: "LoadResult", junit: Path | None) -> None:
    """junit.xml and summary.md into the folder, to --junit, and to a GitHub job's summary.

    Raises:
        StateError: the disk is full, or the path cannot be written.
    """
    from deployctl.reports import junit as junits
    from deployctl.reports import load_markdown

    xml, markdown = junits.loadtest(result), load_markdown.render(result)
    _write(where / "junit.xml", xml)
    _write(where / "summary.md", markdown)
    if junit is not None:
        with suppress(OSError):
            junit.parent.mkdir(parents=True, exist_ok=True)
        _write(junit, xml)
    job_summary(markdown)


def write_series_reports(where: Path, series: "Series", junit: Path | None) -> None:
    """The same of several runs, and report.html over all of them.

    Raises:
        StateError: the disk is full, or the path cannot be written.
    """
    from deployctl.reports import series as words

    xml, markdown = words.junit(series), words.markdown(series)
    _write(where / "report.html", words.html(series))
    _write(where / "junit.xml", xml)
    _write(where / "summary.md", markdown)
    if junit is not None:
        with suppress(OSError):
            junit.parent.mkdir(parents=True, exist_ok=True)
        _write(junit, xml)
    job_summary(markdown)


def enforce_series(series: "Series") -> None:
    """Ends with 5 if a run of a sweep, or the answer of a search, does not pass the gate.

    Raises:
        SloMissedError: with the reasons of the first such run; the others are told.
    """
    from deployctl.load import gate

    if series.limit is not None:
        answer = gate.judge_search(series.limit)
        if not answer.passed:
            raise SloMissedError(
                f"the gate is not passed: {answer.reasons[0]}",
                where=f"--slo {series.limit.slo}",
                hint="measure longer (--duration), with more --workers, or begin at a lower load",
            )
        return
    failed = [
        (point, answer.reasons)
        for point in series.points
        if not (answer := gate.judge(point.result)).passed
    ]
    for point, reasons in failed[1:]:
        story(f"also: {series.variable} {point.value:g}: {'; '.join(reasons)}")
    if failed or not series.points:
        first = (
            "there is no run"
            if not failed
            else (f"{series.variable} {failed[0][0].value:g}: {'; '.join(failed[0][1])}")
        )
        raise SloMissedError(
            f"the gate is not passed: {first}",
            hint="leave the loads out that the service need not carry",
        )


def job_summary(markdown: str) -> None:
    """Adds to a GitHub job's summary, if we run in one. Its loss is told, and no reason to fail."""
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(markdown + "\n")
        except OSError as error:
            story(f"the job's summary could not be written: {error.strerror}: {path}")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StateError(
            f"the report could not be written: {error.strerror}", where=str(path)
        ) from error


def enforce(result: "LoadResult") -> None:
    """Ends with 5 if the gate was asked for and is not passed.

    Raises:
        SloMissedError: with every reason, and each objective's value, interval and count.
    """
    if result.gate is None or result.gate.passed:
        return
    first, *more = result.gate.reasons
    for reason in more:
        story(f"also: {reason}")
    raise SloMissedError(
        f"the gate is not passed: {first}",
        where=f"--slo {result.slo.text}" if result.slo else None,
        hint="report.html shows when it went wrong; measure longer to narrow an interval",
    )
