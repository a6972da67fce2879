"""Two scanners of others over what the chart renders: no finding without a written reason.

checkov over the default values, every part at once, and a CPU; trivy over those and every golden
render. Where a reason below is no longer needed, the test fails too.
"""

import json
import re
import subprocess

import pytest

from chart.helmtool import MAXIMAL, ROOT, renders, template

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


# trivy: (check, object): why it is right as it is.
TRIVY_REASONS = {
    ("KSV011", "Deployment 'qwen'"): REASONS["CKV_K8S_11", "Deployment.serving.qwen"],
    ("KSV011", "Deployment 'qwen-router'"): REASONS["CKV_K8S_11", "Deployment.serving.qwen-router"],
    ("KSV014", "Deployment 'qwen'"): REASONS["CKV_K8S_22", "Deployment.serving.qwen"],
    ("AVD-KSV-01010", "ConfigMap 'qwen-files'"): "scripts that read a key from its file are named "
    "after it; they hold none",
    ("AVD-KSV-0109", "ConfigMap 'qwen-files'"): "the word token in a script that reads one from "
    "its file",
    ("AVD-KSV-01010", "ConfigMap 'qwen-smoke'"): "the same, for the pod of `helm test`",
}


ARGUMENT = re.compile(r'\n +- "[^"]*"$', re.MULTILINE)


@pytest.fixture(scope="module")
def trivy_findings(tmp_path_factory):
    """(check, object) -> the case it is in.

    Objects of several renders that differ in arguments and numbers alone are looked at once.
    """
    folder = tmp_path_factory.mktemp("trivy")
    texts = {case: template(values, files=files) for case, (values, files) in CASES.items()}
    texts |= {"-".join(map(str, case)): text for case, text in renders().items()}
    seen = {}
    for case, text in texts.items():
        for part in text.split("\n---\n"):
            if part.strip() and not text.startswith("# "):
                alike = ARGUMENT.sub("", re.sub(r"\d+", "0", part))
                seen.setdefault(alike.strip("-\n "), (case, part))
    for number, (case, part) in enumerate(seen.values()):
        (folder / f"{number}-{case}.yaml").write_text(part)
    command = ["trivy", "config", "--skip-check-update", "--quiet", "--format", "json"]
    command += ["--cache-dir", str(tmp_path_factory.mktemp("cache")), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    results = json.loads(done.stdout)["Results"]
    assert len(results) > 40, done.stderr
    assert sum(result["MisconfSummary"]["Successes"] for result in results) > 2000
    found = {}
    for result in results:
        for problem in result.get("Misconfigurations", ()):
            there = re.search(
                r"(Deployment|ConfigMap|Pod|Job|Service\w*) '[\w-]+'", problem["Message"]
            )
            named = there[0] if there else problem["Message"]
            found.setdefault((problem["ID"], named), result["Target"])
    return found


def test_trivy_has_no_finding_without_a_reason(trivy_findings):
    assert not {f: case for f, case in trivy_findings.items() if f not in TRIVY_REASONS}


def test_trivy_has_no_reason_without_a_finding(trivy_findings):
    assert not set(TRIVY_REASONS) - set(trivy_findings)


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
