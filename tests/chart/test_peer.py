"""benchmarks/chart: our chart and a peer's before the same scanners, and the peer's known faults.

The peer here is a chart of ours that has those faults (tests/data/charts/peer).
"""

import json
import subprocess
import sys

import pytest

from chart.helmtool import ROOT
from chart.test_scanner import REASONS, TRIVY_REASONS

PEER = ROOT / "tests" / "data" / "charts" / "peer"

pytestmark = pytest.mark.helm


def run(*words):
    command = [sys.executable, "-m", "benchmarks.chart", "--output", "json", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)


@pytest.fixture(scope="module")
def compared():
    done = run("--peer-chart", PEER, "--check-only")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_every_known_fault_is_named(compared):
    assert len(compared["faults"]) > 10
    assert not [fault["fault"] for fault in compared["faults"] if not fault["named"]]


def test_a_fault_is_named_for_the_values_that_bring_it_out(compared):
    base = set(compared["charts"]["peer"]["codes"])
    for fault in compared["faults"]:
        assert bool(fault["values"]) is base.isdisjoint(fault["named"]), fault


def test_our_chart_has_none_of_them(compared):
    ours = compared["charts"]["deployctl"]
    assert not {code for fault in compared["faults"] for code in fault["named"]} & {*ours["codes"]}
    assert (ours["check"]["error"], ours["check"]["warning"]) == (0, 0)


def test_a_fault_that_is_not_named_fails(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text((PEER / "Chart.yaml").read_text())
    mended = (PEER / "templates" / "all.yaml").read_text().replace("maxSurge: 100%", "maxSurge: 0")
    (tmp_path / "templates" / "all.yaml").write_text(mended)
    done = run("--peer-chart", tmp_path, "--check-only")
    assert done.returncode == 1
    unnamed = [fault for fault in json.loads(done.stdout)["faults"] if not fault["named"]]
    assert ["maxSurge" in fault["fault"] for fault in unnamed] == [True]


@pytest.mark.scanner
def test_ours_fails_only_what_has_a_reason():
    done = run()
    ours = json.loads(done.stdout)["charts"]["deployctl"]
    assert ours["checkov"]
    assert ours["trivy"]
    assert {*ours["checkov"]} <= {check for check, _ in REASONS}
    assert {*ours["trivy"]} <= {check for check, _ in TRIVY_REASONS}


def test_a_chart_that_is_not_there_is_said(tmp_path):
    done = run("--peer-chart", tmp_path / "none", "--check-only")
    assert done.returncode == 2
    assert done.stderr.startswith("error: helm failed")
    assert not done.stdout
