"""A check's findings as text: by file, worst first."""

from itertools import groupby

from rich.text import Text

from deployctl.checking import Report, Severity
from deployctl_loadtest.foreign import printable

_STYLE = {Severity.error: "bold red", Severity.warning: "yellow", Severity.note: "dim"}


def report_text(report: Report, *, colour: bool) -> Text:
    """Writes the findings, and a line that counts them."""
    text = Text()

    def put(words: str, style: str = "") -> None:
        text.append(words, style=style if colour else "")

    for file, findings in groupby(report.findings, key=lambda f: f.file):
        put(f"{_line(file)}\n", "bold")
        for finding in findings:
            put(f"  {finding.severity.value}", _STYLE[finding.severity])
            put(f"  {finding.code}", "bold")
            put(f"  line {finding.line}  {_line(finding.where)}\n")
            put(f"    {_line(finding.message)}\n")
            put(f"    fix: {_line(finding.fix)}\n", "cyan")
        put("\n")
    put(_summary(report) + "\n")
    return text


def _line(text: str) -> str:
    """One printable line: what a manifest says must not move the cursor."""
    return printable(" ".join(text.splitlines()))


def _summary(report: Report) -> str:
    counts = [
        _count(report.count(severity), severity.value)
        for severity in Severity
        if report.count(severity)
    ]
    findings = ", ".join(counts) or "nothing to fix"
    seen = [
        _count(report.documents, "document"),
        _count(report.files, "file"),
        _count(report.engines, "engine"),
    ]
    ignored = f"; {report.ignored} ignored" if report.ignored else ""
    return f"{findings} in {seen[0]} of {seen[1]}, {seen[2]}{ignored}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
