"""Findings as a JUnit report: a suite a file, a failed case an error, for any pipeline."""

from collections.abc import Iterable

from deployctl.checking.finding import Finding, Severity
from deployctl.checking.run import Report
from deployctl.junit import Case, Suite, document


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
