"""Two scanners of others over what the chart renders: no finding without a written reason.

Both look at the default values, every part at once, a CPU, and every golden render. Where a reason
below is no longer needed, the test fails too.
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


HASH = re.compile(r"-[0-9a-f]{10}(?=')")
ARGUMENT = re.compile(r'\n +- "[^"]*"$', re.MULTILINE)


def alike(text):
    """What a scanner looks at: without arguments, and without how much of a thing there is."""
    return ARGUMENT.sub("", re.sub(r"\d+", "0", text)).strip("-\n ")


@pytest.fixture(scope="module")
def texts():
    """Every render by its case; of golden ones that are alike to a scanner, the first."""
    found = {case: template(values, files=files) for case, (values, files) in CASES.items()}
    golden = {}
    for case, text in renders().items():
        if not text.startswith("# "):
            golden.setdefault(alike(text), ("-".join(map(str, case)), text))
    return found | dict(golden.values())


@pytest.fixture(scope="module")
def findings(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("scan")
    for case, text in texts.items():
        (folder / f"{case}.yaml").write_text(text)
    command = [ROOT / ".tools/checkov/bin/python", "-m", "checkov.main", "--directory", folder]
    command += ["--framework", "kubernetes", "--skip-download", "--quiet", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 100 * len(texts), done.stderr
    assert not report["summary"]["parsing_errors"]
    found = {case: set() for case in texts}
    for check in report["results"]["failed_checks"]:
        case = check["file_path"].strip("/").removesuffix(".yaml")
        found[case].add((check["check_id"], check["resource"]))
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
    ("AVD-KSV-0109", "ConfigMap 'qwen-download'"): "the same, in the script that downloads",
    ("AVD-KSV-01010", "ConfigMap 'qwen-smoke'"): "the same, for the pod of `helm test`",
}


@pytest.fixture(scope="module")
def trivy_findings(tmp_path_factory, texts):
    """(check, object) -> the file it is in. Objects of several renders that are alike go once."""
    folder = tmp_path_factory.mktemp("trivy")
    parts = {}
    for case, text in texts.items():
        for part in text.split("\n---\n"):
            parts.setdefault(alike(part), (case, part))
    for number, (case, part) in enumerate(parts.values()):
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
            named = HASH.sub("", there[0] if there else problem["Message"])
            found.setdefault((problem["ID"], named), result["Target"])
    return found


def test_trivy_has_no_finding_without_a_reason(trivy_findings):
    assert not {f: case for f, case in trivy_findings.items() if f not in TRIVY_REASONS}


def test_trivy_has_no_reason_without_a_finding(trivy_findings):
    assert not set(TRIVY_REASONS) - set(trivy_findings)


def explained(finding):
    return finding in REASONS or (finding[0], "*") in REASONS


def test_no_finding_without_a_reason(findings):
    assert not {(case, f) for case, found in findings.items() for f in found if not explained(f)}


def test_every_golden_render_is_looked_at(texts):
    distinct = {alike(text) for text in renders().values() if not text.startswith("# ")}
    assert distinct <= {alike(text) for text in texts.values()}
    assert len(distinct) > 10


def test_no_reason_without_a_finding(findings):
    every = set().union(*findings.values())
    idle = [r for r in REASONS if r not in every and (r[1] != "*" or r[0] not in dict(every))]
    assert not idle


def test_a_cpu_needs_no_reason_for_its_root(findings):
    assert ("CKV_K8S_22", "Deployment.serving.qwen") not in findings["cpu"]
