"""The JUnit writer: whatever stands in a name or a message, the document is XML."""

from xml.etree import ElementTree

import pytest

from deployctl.checking import check_texts
from deployctl.checking.formats import junit as findings
from deployctl.junit import Case, Suite, document

# A noncharacter, the halves of a pair alone, controls; and what only looks like markup.
NOT_IN_XML = ["\ufffe", "\uffff", "\ud800", "\udfff", "\x00", "\x08", "\x0b", "\x1f"]


def read(text):
    return ElementTree.fromstring(text.encode("utf-8"))


@pytest.mark.parametrize("character", NOT_IN_XML, ids=ascii)
@pytest.mark.parametrize("outcome", ["passed", "failure", "error", "skipped"])
def test_what_xml_cannot_hold_is_replaced_everywhere(character, outcome):
    evil = f'a{character}b <&"\u2028\U0001f600\t'
    case = Case(evil, outcome, evil, evil, evil, 1.0)
    (suite,) = read(document([Suite(evil, [case], 1.0, evil)], evil))
    (found,) = suite
    assert found.get("name") == 'a\ufffdb <&"\u2028\U0001f600\t'
    assert "\ufffd" in found[0].text
    assert (suite.get("name"), found.get("classname")) == (found.get("name"),) * 2


def test_cases_are_counted():
    outcomes = ["passed", "failure", "failure", "error", "skipped"]
    (suite,) = read(document([Suite("s", [Case(o, o, "why", "kind") for o in outcomes], 2.5)]))
    counts = [suite.get(key) for key in ("tests", "failures", "errors", "skipped", "time")]
    assert counts == ["5", "2", "1", "1", "2.500"]
    assert suite.find("testcase/error").attrib == {"message": "why", "type": "kind"}
    assert suite.get("timestamp") is None


@pytest.mark.parametrize("character", NOT_IN_XML, ids=ascii)
def test_findings_make_a_document(character):
    file = f"k8s{character}.yaml"
    report = check_texts({file: 'apiVersion: v1\nkind: Pod\nmetadata: {name: "A\\uFFFE"}\n'})
    (suite,) = read(findings(report, [file], strict=True))
    assert suite.get("name") == "k8s\ufffd.yaml"
    assert int(suite.get("failures")) > 0
