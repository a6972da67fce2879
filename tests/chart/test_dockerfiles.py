"""Two scanners of others over the Dockerfiles: no finding without a written reason."""

import json
import subprocess

import pytest

from chart.helmtool import ROOT

pytestmark = pytest.mark.scanner

NO_HEALTHCHECK = "Compose and the chart bring their own, which know the port and ask the door"
REASONS = {
    "DS026": NO_HEALTHCHECK,
    "CKV_DOCKER_2": NO_HEALTHCHECK,
    "CKV_DOCKER_7": "the base is an argument: whoever builds pins it, by digest where that matters",
}


@pytest.fixture(scope="module")
def files():
    return {file.name for file in (ROOT / "docker").glob("*.Dockerfile")}


def test_trivy_has_no_finding_without_a_reason(files, tmp_path):
    command = ["trivy", "config", "--skip-check-update", "--quiet", "--format", "json"]
    command += ["--cache-dir", str(tmp_path), str(ROOT / "docker")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    results = json.loads(done.stdout)["Results"]
    assert {result["Target"] for result in results} == files, done.stderr
    assert all(result["MisconfSummary"]["Successes"] > 20 for result in results)
    found = {each["ID"] for result in results for each in result.get("Misconfigurations", ())}
    assert found == {code for code in REASONS if code.startswith("DS")}


def test_checkov_has_no_finding_without_a_reason(files):
    command = [ROOT / ".tools/checkov/bin/python", "-m", "checkov.main", "--quiet", "-o", "json"]
    command += ["--directory", ROOT / "docker", "--framework", "dockerfile", "--skip-download"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 10 * len(files), done.stderr
    found = {each["check_id"] for each in report["results"]["failed_checks"]}
    assert found == {code for code in REASONS if code.startswith("CKV")}
