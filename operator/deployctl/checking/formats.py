"""Findings in the formats of others: SARIF 2.1.0 for code hosts, JUnit for any pipeline."""

import re
from collections.abc import Iterable
from typing import Any

from deployctl import __version__
from deployctl.checking.finding import RULES, Finding, Severity
from deployctl.checking.run import Report
from deployctl.junit import Case, Suite, document

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_NOT_IN_A_URI = re.compile(r"[^A-Za-z0-9._~/-]")


def sarif(report: Report) -> dict[str, Any]:
    """The SARIF log of one check; our severities are its levels."""
    used = sorted({finding.code for finding in report.findings})
    index = {code: number for number, code in enumerate(used)}
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "deployctl check",
                        "semanticVersion": __version__,
                        "rules": [_rule(code) for code in used],
                    }
                },
                "results": [_result(f, index[f.code]) for f in report.findings],
            }
        ],
    }


def _rule(code: str) -> dict[str, Any]:
    rule = RULES.get(code)
    if rule is None:  # of a plan, not of a file
        return {"id": code}
    return {
        "id": code,
        "shortDescription": {"text": rule.consequence},
        "defaultConfiguration": {"level": rule.severity.value},
    }


def _uri(file: str) -> str:
    """A path as a reference: what is no letter of a URI is written as its bytes."""
    path = file.replace("\\", "/")
    return _NOT_IN_A_URI.sub(
        lambda m: "".join(f"%{b:02X}" for b in m[0].encode(errors="surrogateescape")), path
    )


def _result(finding: Finding, rule: int) -> dict[str, Any]:
    location: dict[str, Any] = {
        "artifactLocation": {"uri": _uri(finding.file)},
        "region": {"startLine": max(1, finding.line)},
    }
    return {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": finding.severity.value,
        "message": {"text": f"{finding.where}: {finding.message}. Fix: {finding.fix}"},
        "locations": [
            {
                "physicalLocation": location,
                "logicalLocations": [{"fullyQualifiedName": finding.where}],
            }
        ],
    }


def junit(report: Report, files: Iterable[str], *, strict: bool) -> str:
    """The JUnit document of one check. With `strict`, warnings are failures too."""
    failing = {Severity.error, Severity.warning} if strict else {Severity.error}
    suites = []
    for file in files:
        cases = [_case(f, failed=f.severity in failing) for f in report.findings if f.file == file]
        suites.append(Suite(file, cases or [Case("no findings")]))
    return document(suites, "deployctl check")


def _case(finding: Finding, *, failed: bool) -> Case:
    name = f"{finding.code} {finding.where}"
    text = f"{finding.file}:{finding.line}\n{finding.message}\nfix: {finding.fix}"
    severity = finding.severity.value
    if failed:
        return Case(name, "failure", finding.message, severity, text)
    return Case(name, detail=f"{severity}: {text}")
