"""checkov over everything that the chart can render: no finding without a written reason.

Where a reason below is no longer needed, the test fails too.
"""

import json
import subprocess

import pytest

from chart.helmtool import MAXIMAL, ROOT, template

pytestmark = [pytest.mark.helm, pytest.mark.scanner]

CPU = {"gpu": {"count": 0}, "security": {"readOnlyRootFilesystem": True}}
CASES = {"default": ({}, []), "maximal": ({}, [MAXIMAL]), "cpu": (CPU, [])}

# (check, object): why it is right as it is.
REASONS = {
    ("CKV_K8S_11", "Deployment.serving.qwen"): "no CPU limit: throttling stalls the loop that "
    "feeds the cards; resources.cpuLimit sets one",
    ("CKV_K8S_11", "Deployment.serving.qwen-router"): "no CPU limit: it is in the way of every "
    "token",
    ("CKV_K8S_15", "*"): "images are pinned, and ten gigabytes need not be asked for at every "
    "start; engine.pullPolicy",
    ("CKV_K8S_43", "*"): "a release's tag unless the user gives a digest, which engine.image takes",
    ("CKV_K8S_22", "Deployment.serving.qwen"): "NVIDIA's hook writes the driver's libraries into "
    "the root; read-only on a CPU",
    ("CKV_K8S_38", "Deployment.serving.qwen-router"): "the router asks the API server for pods, "
    "with a role that can do only that",
    ("CKV_K8S_8", "Pod.serving.qwen-smoke"): "the pod of `helm test` ends by itself",
    ("CKV_K8S_9", "Pod.serving.qwen-smoke"): "the pod of `helm test` serves nothing",
    ("CKV2_K8S_6", "Pod.serving.qwen-smoke"): "the pod of `helm test` listens on nothing and lives "
    "for seconds",
}


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    found = {}
    for case, (values, files) in CASES.items():
        file = folder / f"{case}.yaml"
        file.write_text(template(values, files=files))
        command = [ROOT / ".tools/checkov/bin/python", "-m", "checkov.main", "--file", file]
        command += ["--framework", "kubernetes", "--skip-download", "--quiet", "-o", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        report = json.loads(done.stdout)
        assert report["summary"]["passed"] > 100, done.stderr
        assert not report["summary"]["parsing_errors"]
        found[case] = {
            (check["check_id"], check["resource"]) for check in report["results"]["failed_checks"]
        }
    return found


def explained(finding):
    return finding in REASONS or (finding[0], "*") in REASONS


@pytest.mark.parametrize("case", CASES)
def test_no_finding_without_a_reason(findings, case):
    assert not sorted(f for f in findings[case] if not explained(f))


def test_no_reason_without_a_finding(findings):
    every = set().union(*findings.values())
    idle = [r for r in REASONS if r not in every and (r[1] != "*" or r[0] not in dict(every))]
    assert not idle


def test_a_cpu_needs_no_reason_for_its_root(findings):
    assert ("CKV_K8S_22", "Deployment.serving.qwen") not in findings["cpu"]
