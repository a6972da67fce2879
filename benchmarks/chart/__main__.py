"""python -m benchmarks.chart [--peer-chart DIR] [--check-only] [--output json]

Renders one model with two replicas by our chart and, where its folder is given, by the chart of
vllm-project/production-stack (its `helm` folder), and shows side by side what two scanners and
`deployctl check` find; then which of that chart's known faults `check` names.

Needs what .ci/helm, .ci/helm checkov and .ci/helm trivy fetch; with --check-only the first alone.
Exit code 1 when a known fault of the peer is not named, 2 when a part is missing or a chart cannot
be filled in.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from benchmarks.chart.cases import FAULTS, NAMESPACE, OURS, peer_values

from deployctl.checking import Severity, check_texts

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"
_LIMIT_S = 300


class MissingError(Exception):
    """A part is not there, or did not do its work."""


def main() -> int:
    """Reads the command line, renders, scans and shows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chart")
    parser.add_argument("--peer-chart", type=Path, help="the folder of production-stack's chart")
    parser.add_argument("--check-only", action="store_true", help="leave the scanners out")
    parser.add_argument("--output", choices=("text", "json"), default="text")
    given = parser.parse_args()
    os.environ["PATH"] = f"{TOOLS / 'bin'}{os.pathsep}{os.environ['PATH']}"
    try:
        results = measured(given.peer_chart, scan=not given.check_only)
    except MissingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.output == "json":
        print(json.dumps(results, indent=2))
    else:
        show(results)
    return 1 if any(not fault["named"] for fault in results["faults"]) else 0


def measured(peer: Path | None, *, scan: bool = True) -> dict[str, Any]:
    """Counts of both charts, and the peer's faults.

    Raises:
        MissingError: a scanner or helm is not there, or a chart refuses its values.
    """
    charts = {"deployctl": (ROOT / "charts" / "vllm", OURS)}
    if peer is not None:
        charts["peer"] = (peer, peer_values())
    counts = {name: counted(template(*chart), scan=scan) for name, chart in charts.items()}
    faults = []
    for fault in FAULTS if peer is not None else ():
        text = template(peer, peer_values(**fault.model))
        codes = {finding.code for finding in check_texts({"peer.yaml": text}).findings}
        named = sorted(fault.codes & codes)
        faults.append({"fault": fault.title, "values": fault.model, "named": named})
    return {"version": 1, "charts": counts, "faults": faults}


def template(chart: Path | None, values: dict[str, Any]) -> str:
    """What helm makes of a chart; pods of `helm test` are left out."""
    command = ["helm", "template", "stack", str(chart), "--namespace", NAMESPACE]
    return _output([*command, "--skip-tests", "--values", "-"], "helm", text=yaml.safe_dump(values))


def counted(text: str, *, scan: bool) -> dict[str, Any]:
    """What is found in the objects of a chart."""
    report = check_texts({"objects.yaml": text})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "objects.yaml"
        file.write_text(text, encoding="utf-8")
        return {
            "objects": sum(1 for document in yaml.safe_load_all(text) if document),
            "checkov": checkov(file) if scan else None,
            "trivy": trivy(file, Path(folder) / "cache") if scan else None,
            "check": {severity.value: report.count(severity) for severity in Severity},
            "codes": sorted({finding.code for finding in report.findings}),
        }


def checkov(file: Path) -> list[str]:
    """Failed checks of checkov, one each time that one fails."""
    command = [str(TOOLS / "checkov/bin/python"), "-m", "checkov.main", "--file", str(file)]
    command += ["--framework", "kubernetes", "--skip-download", "--quiet", "--output", "json"]
    report = json.loads(_output(command, "checkov", codes=(0, 1)))
    return sorted(check["check_id"] for check in report["results"]["failed_checks"])


def trivy(file: Path, cache: Path) -> list[str]:
    """The same of trivy, by the checks that are built into it."""
    command = ["trivy", "config", "--skip-check-update", "--quiet", "--format", "json"]
    report = json.loads(_output([*command, "--cache-dir", str(cache), str(file)], "trivy"))
    found = [m for result in report["Results"] for m in result.get("Misconfigurations", ())]
    return sorted(problem["ID"] for problem in found)


def _output(
    command: list[str], name: str, *, text: str | None = None, codes: tuple[int, ...] = (0,)
) -> str:
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except FileNotFoundError as error:
        hint = ".ci/helm" if name == "helm" else f".ci/helm {name}"
        raise MissingError(f"there is no {name}; {hint} fetches it") from error
    if done.returncode not in codes:
        raise MissingError(f"{name} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def _amount(found: list[str] | None) -> str:
    return "–" if found is None else str(len(found))


def show(results: dict[str, Any]) -> None:
    """Prints tables in Markdown."""
    charts = results["charts"]
    print(f"| one model, two replicas, a router | {' | '.join(charts)} |")
    print("|---" * (1 + len(charts)) + "|")
    rows = {
        "objects": lambda c: c["objects"],
        "checkov, failed": lambda c: _amount(c["checkov"]),
        "trivy, failed": lambda c: _amount(c["trivy"]),
        "deployctl check, errors": lambda c: c["check"]["error"],
        "deployctl check, warnings": lambda c: c["check"]["warning"],
    }
    for title, figure in rows.items():
        print(f"| {title} | {' | '.join(str(figure(c)) for c in charts.values())} |")
    if results["faults"]:
        print("\n| known fault of the peer | deployctl check |\n|---|---|")
    for fault in results["faults"]:
        print(f"| {fault['fault']} | {', '.join(fault['named']) or 'NOT NAMED'} |")


if __name__ == "__main__":
    sys.exit(main())
