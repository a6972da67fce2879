"""deployctl check over everything that we render ourselves: nothing to fix."""

import pytest

from chart.helmtool import CARDS, FORMATS, MAXIMAL, PROFILES, renders, template
from deployctl.checking import Severity, check_texts

pytestmark = pytest.mark.helm


def to_mend(text):
    report = check_texts({"rendered.yaml": text})
    assert report.engines > 0
    return [(f.code, f.where, f.message) for f in report.findings if f.severity != Severity.note]


@pytest.mark.parametrize("cards", CARDS)
@pytest.mark.parametrize("method", FORMATS)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_plan_renders_to_nothing_to_mend(profile, method, cards):
    text = renders()[profile, method, cards]
    if text.startswith("# "):
        assert "fit" in text or "cannot" in text, text
        return
    assert to_mend(text) == []


def test_most_plans_are_rendered():
    assert sum(not text.startswith("# ") for text in renders().values()) > 80


def test_the_maximal_values_have_nothing_to_mend_but_the_secret_they_ask_for():
    found = to_mend(template({}, files=[MAXIMAL]))
    assert {code for code, _, _ in found} <= {"secret-in-manifest"}
