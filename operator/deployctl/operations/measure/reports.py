"""Writes a load test's reports to its folder, and to the summary of a GitHub job."""

import os
from pathlib import Path

from deployctl.errors import StateError
from deployctl.events import Event, Tell, silent
from deployctl.files import ODD, write_text
from deployctl.load.run import Measurement, UnwrittenError
from deployctl.reports import load as load_reports
from deployctl.reports import series as series_reports
from deployctl.reports.hostpage import MOST_OF_A_SUMMARY, code, cut
from deployctl_loadtest.result import LoadResult
from deployctl_loadtest.series import Series


def write_page(measured: Measurement) -> None:
    """One run's report.html, into its folder.

    Raises:
        UnwrittenError: the disk is full, or the folder cannot be written.
    """
    result, samples, moments, folder = measured
    try:
        write_text(folder / "report.html", load_reports.html(result, samples, moments))
    except StateError as error:
        raise UnwrittenError(error, measured) from error


def write_reports(
    folder: Path, result: LoadResult | Series, copy: Path | None = None, tell: Tell = silent
) -> None:
    """junit.xml and summary.md into the folder, and to a GitHub job's summary.

    `copy` is where junit.xml is written as well. A series has its report.html from here, a run
    from `write_page`.

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
    job_summary(markdown, tell, whole=kept_in(folder / "summary.md"))


def kept_in(file: Path) -> str:
    """What has the whole of a page that is cut, in words."""
    return f"{code(str(file))} (kept with the result, an artefact where the job keeps one)"


def job_summary(markdown: str, tell: Tell = silent, *, whole: str = "the job's log") -> None:
    """Adds to a GitHub job's summary, if we run in one, as much as the step has room for there.

    `whole`: what has all of it, for a page that is cut. A loss is told, and no reason to fail.
    """
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(path).open("a", encoding="utf-8", errors=ODD) as file:
                page = cut(markdown + "\n", MOST_OF_A_SUMMARY - file.tell(), whole)
                file.write(page)
        except OSError as error:
            text = f"the job's summary could not be written: {error.strerror}: {path}"
            tell(Event("warning", text))
            return
        if not page:
            text = f"the step's summary is full, GitHub takes no more of it: {whole} has this"
            tell(Event("warning", text))
