"""What the gate passes and what it ends with, and the files that it leaves for a pipeline."""

import dataclasses
from xml.etree import ElementTree

import pytest

from deployctl.errors import InputError, SloMissedError, StateError
from deployctl.operations.measure import gate
from deployctl.operations.measure.reports import job_summary, write_reports
from deployctl.operations.measure.request import GateRequest
from deployctl.reports import series
from deployctl_loadtest.series import Limit
from verdict_parts import MISSED, made, sweep


@pytest.mark.parametrize(
    ("status", "passes"),
    [
        *(("found", True), ("not_reached", True)),
        *(("unresolved", False), ("never_held", False), ("client_limited", False)),
    ],
)
def test_a_search_passes_the_gate_if_it_has_an_answer(status, passes):
    limit = Limit("ttft_p95=1s", status, 2.0, 4.0, 1.0, 0.9, 1.1, "So it is.")
    # That a load beyond the limit misses the SLO is no failure: it is how the limit was found.
    found = dataclasses.replace(sweep(), kind="find_max", limit=limit)
    (suite,) = ElementTree.fromstring(series.junit(found)).findall("testsuite")
    assert (suite.get("tests"), suite.get("failures")) == ("1", "0" if passes else "1")
    assert len(suite.findall("testcase/failure")) == int(suite.get("failures"))
    if passes:
        gate.enforce_series(found)
    else:
        with pytest.raises(SloMissedError, match="not passed: So it is"):
            gate.enforce_series(found)


def test_a_series_passes_the_gate_if_every_run_does():
    found = sweep()
    gate.enforce_series(dataclasses.replace(found, points=found.points[:2]))
    with pytest.raises(SloMissedError, match="users 4: ttft_p95 missed"):
        gate.enforce_series(found)
    with pytest.raises(SloMissedError, match="no run"):
        gate.enforce_series(dataclasses.replace(found, points=[]))


def test_the_gate_ends_with_five():
    gate.enforce(made()[0])
    gate.enforce(made(None)[0])
    with pytest.raises(SloMissedError, match=r"ttft_p95 missed: \S+ ms, limit 100 ms") as caught:
        gate.enforce(made(MISSED)[0])
    assert caught.value.exit_code == 5
    with pytest.raises(InputError, match="needs an SLO"):
        gate.slo_of(GateRequest(fail_on_breach=True))


def test_files_for_a_pipeline(tmp_path, monkeypatch):
    summary = tmp_path / "step"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    result, _ = made()
    write_reports(tmp_path, result, tmp_path / "made" / "junit.xml")
    assert (tmp_path / "junit.xml").read_text() == (tmp_path / "made" / "junit.xml").read_text()
    assert summary.read_text().startswith("before\n## Load test of m")
    assert (tmp_path / "summary.md").read_text() in summary.read_text()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))  # a folder
    told = []
    job_summary("text", told.append)
    assert "could not be written" in told[0].text
    assert len(told) == 1
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    with pytest.raises(StateError, match="could not be written"):
        write_reports(tmp_path, result, tmp_path / "step" / "junit.xml")


def test_a_step_s_summary_is_cut_where_github_would_show_nothing_of_it(tmp_path, monkeypatch):
    summary, limit = tmp_path / "step", 1024 * 1024
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    row = "| é | \udce9 |\n"
    told = []
    job_summary("before\n", told.append)
    job_summary("## Head\n\n" + row * 120_000 + "## Last", told.append, whole="`r/summary.md`")
    page = summary.read_text()
    assert limit - 200 < summary.stat().st_size <= limit
    *lines, last = page.removesuffix("\n").split("\n")
    assert last.startswith("_Cut here, for its length: ")
    assert last.endswith(" lines left out; `r/summary.md` has all._")
    left = int(last.split(": ")[1].split(" lines")[0].replace(",", ""))
    kept = [line for line in lines if line.startswith("|")]
    assert set(kept) == {"| é | \\udce9 |"}
    assert len(kept) + left == 120_001
    assert told == []
    job_summary("more\n" * 99, told.append, whole="`r/summary.md`")
    assert summary.read_text() == page
    assert "the step's summary is full" in told[0].text
