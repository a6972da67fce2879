"""Findings as a JUnit report: a suite a file, a failed case an error, for any pipeline."""

import re
from collections.abc import Iterable
from xml.etree import ElementTree as Xml

from deployctl.checking.finding import Finding, Severity
from deployctl.checking.run import Report

# What XML 1.0 cannot hold.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: Report, files: Iterable[str], *, strict: bool) -> str:
    """The JUnit document of one check. With `strict`, warnings are failures too."""
    failing = {Severity.error, Severity.warning} if strict else {Severity.error}
    root = Xml.Element("testsuites", name="deployctl check")
    for file in files:
        found = [f for f in report.findings if f.file == file]
        failed = sum(f.severity in failing for f in found)
        suite = Xml.SubElement(
            root,
            "testsuite",
            name=_clean(file),
            tests=str(max(1, len(found))),
            failures=str(failed),
            errors="0",
        )
        if not found:
            Xml.SubElement(suite, "testcase", name="no findings", classname=_clean(file))
        for finding in found:
            _case(suite, finding, failed=finding.severity in failing)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: Xml.Element, finding: Finding, *, failed: bool) -> None:
    name = f"{finding.code} {finding.where}"
    case = Xml.SubElement(suite, "testcase", name=_clean(name), classname=_clean(finding.file))
    text = f"{finding.file}:{finding.line}\n{finding.message}\nfix: {finding.fix}"
    if failed:
        failure = Xml.SubElement(
            case, "failure", type=finding.severity.value, message=_clean(finding.message)
        )
        failure.text = _clean(text)
    else:
        Xml.SubElement(case, "system-out").text = _clean(f"{finding.severity.value}: {text}")


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
