"""What a load test's result is held to, and the files and summaries that a pipeline reads."""

import os
from pathlib import Path

from deployctl.errors import InputError, SloMissedError
from deployctl.events import Event, Tell, silent
from deployctl.files import write_text
from deployctl.load import gate
from deployctl.load import slo as slos
from deployctl.load.slo import Slo
from deployctl.operations.measure.request import GateRequest
from deployctl.reports import load as load_reports
from deployctl.reports import series as series_reports
from deployctl_loadtest.result import LoadResult
from deployctl_loadtest.series import Series


def slo_of(request: GateRequest) -> Slo | None:
    """The SLO, or None.

    Raises:
        InputError: it makes no sense, or a gate was asked for without one.
    """
    if request.slo is not None:
        return slos.parse(request.slo)
    if request.fail_on_breach:
        raise InputError(
            "--fail-on-breach needs an SLO",
            where="--fail-on-breach",
            hint="add for example --slo ttft_p95=500ms,error_rate=0.1%",
        )
    return None


def write_reports(
    folder: Path, result: LoadResult | Series, copy: Path | None = None, tell: Tell = silent
) -> None:
    """junit.xml and summary.md into the folder, and to a GitHub job's summary.

    `copy` is where junit.xml is written as well. A series has its report.html from here.

    Raises:
        StateError: the disk is full, or the path cannot be written.
    """
    if isinstance(result, Series):
        xml, markdown = series_reports.junit(result), series_reports.markdown(result)
        write_text(folder / "report.html", series_reports.html(result))
    else:
        xml, markdown = load_reports.junit(result), load_reports.markdown(result)
    write_text(folder / "junit.xml", xml)
    write_text(folder / "summary.md", markdown)
    if copy is not None:
        write_text(copy, xml)
    job_summary(markdown, tell)


def job_summary(markdown: str, tell: Tell = silent) -> None:
    """Adds to a GitHub job's summary, if we run in one. Its loss is told, and no reason to fail."""
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(markdown + "\n")
        except OSError as error:
            text = f"the job's summary could not be written: {error.strerror}: {path}"
            tell(Event("warning", text))


def enforce(result: LoadResult, tell: Tell = silent) -> None:
    """Raises if the gate was asked for and is not passed.

    Raises:
        SloMissedError: with the first reason; the others are told.
    """
    if result.gate is None or result.gate.passed:
        return
    first, *more = result.gate.reasons
    for reason in more:
        tell(Event("heading", f"also: {reason}"))
    raise SloMissedError(
        f"the gate is not passed: {first}",
        where=f"--slo {result.slo.text}" if result.slo else None,
        hint="report.html shows when it went wrong; measure longer to narrow an interval",
    )


def enforce_series(series: Series, tell: Tell = silent) -> None:
    """Raises if a run of a sweep, or the answer of a search, does not pass the gate.

    Raises:
        SloMissedError: with the reasons of the first such run; the others are told.
    """
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
        f"{series.variable} {point.value:g}: {'; '.join(answer.reasons)}"
        for point in series.points
        if not (answer := gate.judge(point.result)).passed
    ]
    for text in failed[1:]:
        tell(Event("heading", f"also: {text}"))
    if failed or not series.points:
        raise SloMissedError(
            f"the gate is not passed: {failed[0] if failed else 'there is no run'}",
            hint="leave out the loads that the service need not carry",
        )
