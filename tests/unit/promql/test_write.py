"""Queries written from their parts: what is written is read as the same, and as tightly bound."""

import pytest

from deployctl.promql import LabelMatcher, Selector, parse, write
from deployctl.promql.write import above, both, quantile, rate, ratio, times, total

SERIES = Selector("a", (LabelMatcher("pod", "=~", 'x"\\.y'), LabelMatcher("", "=", "%s")))
TEXTS = [
    "(a + b) * c",
    "a - (b - c)",
    "a ^ b ^ c",
    "(a ^ b) ^ c",
    "-(a + b)",
    "-a * b",
    "(a or b) and c",
    "a > bool 1",
    "a / on (pod) group_left (node) b",
    'sum by (le, pod) (rate(a_bucket{x="y",z!~"w.*"}[5m] offset 1d))',
    "sum without (pod) (a)",
    "max_over_time((a + b)[1h:30s] offset -5m)",
    "a @ start() offset 5m",
    'label_replace(a, "x", "$1", "y", "(.*)\\\\.z")',
    'a{x="\\"\\\\"}',
    'a{x="one\\ntwo"}',
    "rate(vllm:${metric}_total[$__rate_interval])",
]


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_read_is_written_as_it_was(text):
    assert write(parse(text)) == text


def test_the_parts_of_our_own_queries():
    assert write(rate(SERIES, "5m")) == 'rate(a{pod=~"x\\"\\\\.y",%s}[5m])'
    a, b = Selector("a"), Selector("b")
    assert write(total(a, "x", "y")) == "sum by (x, y) (a)"
    assert write(quantile(0.95, a, "5m", "pod")) == (
        "histogram_quantile(0.95, sum by (le, pod) (rate(a[5m])))"
    )
    assert write(ratio(total(a), total(b))) == "sum(a) / (sum(b) > 0)"
    assert write(both(above(times(100, a), 90), b)) == "100 * a > 90 and b"
