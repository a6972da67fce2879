"""The JUnit documents that pipelines read: the one writer of them. Pure: it makes text.

Everything in them may come from outside, so what XML 1.0 cannot hold is replaced.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple
from xml.etree import ElementTree as Xml

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_COUNTS = {"failure": "failures", "error": "errors", "skipped": "skipped"}


class Case(NamedTuple):
    """One test case. A `failure` is a judgement; an `error` says that none could be made."""

    name: str
    outcome: Literal["passed", "failure", "error", "skipped"] = "passed"
    message: str = ""
    kind: str = ""  # the attribute `type` of what is wrong
    detail: str = ""  # lines below the message; of a passed case, its output
    seconds: float | None = None


class Suite(NamedTuple):
    """Cases of one subject."""

    name: str
    cases: Sequence[Case]
    seconds: float | None = None
    started: str = ""  # ISO 8601


def document(suites: Iterable[Suite], name: str = "") -> str:
    """The whole document, as text to be written as UTF-8."""
    root = Xml.Element("testsuites", _attributes(name=name))
    for suite in suites:
        counts = {
            plural: str(sum(case.outcome == outcome for case in suite.cases))
            for outcome, plural in _COUNTS.items()
        }
        attributes = _attributes(suite.seconds, name=suite.name, timestamp=suite.started)
        element = Xml.SubElement(
            root, "testsuite", attributes | {"tests": str(len(suite.cases))} | counts
        )
        for case in suite.cases:
            _add(element, suite, case)
    Xml.indent(root)
    body = Xml.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _add(suite_element: Xml.Element, suite: Suite, case: Case) -> None:
    attributes = _attributes(case.seconds, name=case.name, classname=suite.name)
    element = Xml.SubElement(suite_element, "testcase", attributes)
    if case.outcome != "passed":
        inner = _attributes(message=case.message, type=case.kind)
        Xml.SubElement(element, case.outcome, inner).text = _clean(case.detail) or None
    elif case.detail:
        Xml.SubElement(element, "system-out").text = _clean(case.detail)


def _attributes(seconds: float | None = None, **texts: str) -> dict[str, str]:
    """The attributes that have a value."""
    given = {key: _clean(text) for key, text in texts.items() if text}
    return given if seconds is None else given | {"time": f"{seconds:.3f}"}


def _clean(text: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", text)
