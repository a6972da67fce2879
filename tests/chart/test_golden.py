"""What the chart gives for every profile, format and number of cards.

One render is kept whole, and one of every optional part; all others are kept as what differs
from the first, so that a change of the chart shows once and a change of a plan where it is.
Of scripts that are mounted as they are in charts/vllm/files, only their names are kept.
"""

import difflib
import re

import pytest

from chart.helmtool import CARDS, FORMATS, MAXIMAL, PROFILES, rendered, renders, template

pytestmark = pytest.mark.helm
FIRST = ("l4", "awq", 1)
# What is left out, and what is kept in its place: still YAML, which others read.
ELSEWHERE = (
    (
        r"(^  deployctl_door\.\w+\.py: \|\n(    .*\n|\n)+)+",
        "  deployctl_door: (charts/vllm/files/deployctl_door)\n",
    ),
    (r"^(  (?:[\w.]+\.(?:py|sh)|routes\.txt): \|\n)(    .*\n|\n)+", r"\1    (charts/vllm/files)\n"),
    (
        r"(^( +)- \{key: deployctl_door\..*\n)+",
        r"\2- {key: deployctl_door, path: charts/vllm/files/deployctl_door}\n",
    ),
    (r"-files-[0-9a-f]{10}\b", "-files-hash"),
)


def kept(text):
    """A render without the text of scripts, which is elsewhere, and without their hash."""
    for pattern, instead in ELSEWHERE:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return text


@pytest.fixture(scope="module")
def first():
    return renders()[FIRST]


def test_one_render_whole(golden, first):
    golden("helm/l4-awq-1.yaml", kept(first))


def test_every_part_at_once(golden):
    golden("helm/maximal.yaml", kept(template(files=[MAXIMAL])))


@pytest.mark.parametrize("profile", PROFILES)
def test_every_format_and_number_of_cards(golden, first, profile):
    lines = [f"# What differs from l4-awq-1.yaml on {profile}: format, cards, lines.\n"]
    for method, cards in ((m, n) for m in FORMATS for n in CARDS):
        text = renders()[profile, method, cards]
        lines.append(f"\n== {method} {cards}\n")
        if text.startswith("# "):
            lines.append(text)
            continue
        found = difflib.unified_diff(first.splitlines(True), text.splitlines(True), n=0)
        lines += [line for line in found if not line.startswith(("---", "+++", "@@"))]
    golden(f"helm/{profile}.diff", "".join(lines))


def test_two_renders_are_the_same_bytes(first):
    assert rendered(FIRST) == first
