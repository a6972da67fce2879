"""What the chart gives for every profile, format and number of cards.

One render is kept whole, and one of every optional part; all others are kept as what differs
from the first, so that a change of the chart shows once and a change of a plan where it is.
"""

import difflib
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from chart.helmtool import MAXIMAL, planned, template
from deployctl.hardware import all_profiles
from deployctl.render.helm import VALUES_FILE, render_helm

pytestmark = pytest.mark.helm

# The model has 28 heads, which eight cards cannot share: two replicas of four.
CARDS = {1: {}, 2: {"tensor_parallel_size": 2}, 4: {"tensor_parallel_size": 4},
         8: {"tensor_parallel_size": 4, "replicas": 2}}  # fmt: skip


def rendered(case):
    profile, method, cards = case
    plan, spec, card = planned(method, profile, gpus=cards, name="qwen", **CARDS[cards])
    if plan.verdict != "fits":
        return f"# {plan.verdict}: " + "; ".join(reason.message for reason in plan.reasons) + "\n"
    text = render_helm(plan, spec, card).files[VALUES_FILE]
    return template(yaml.safe_load(text))


@pytest.fixture(scope="module")
def first():
    return rendered(("l4", "awq", 1))


def test_one_render_whole(golden, first):
    golden("helm/l4-awq-1.yaml", first)


def test_every_part_at_once(golden):
    golden("helm/maximal.yaml", template(files=[MAXIMAL]))


@pytest.mark.parametrize("profile", [profile.name for profile in all_profiles()])
def test_every_format_and_number_of_cards(golden, first, profile):
    cases = [(profile, m, n) for m in ("awq", "gptq", "unquantized") for n in CARDS]
    with ThreadPoolExecutor(2) as pool:
        texts = list(pool.map(rendered, cases))
    lines = [f"# What differs from l4-awq-1.yaml on {profile}: format, cards, lines.\n"]
    for (_, method, cards), text in zip(cases, texts, strict=True):
        lines.append(f"\n== {method} {cards}\n")
        if text.startswith("# "):
            lines.append(text)
            continue
        found = difflib.unified_diff(first.splitlines(True), text.splitlines(True), n=0)
        lines += [line for line in found if not line.startswith(("---", "+++", "@@"))]
    golden(f"helm/{profile}.diff", "".join(lines))


def test_two_renders_are_the_same_bytes(first):
    assert rendered(("l4", "awq", 1)) == first
