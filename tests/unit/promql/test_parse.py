"""Queries taken apart: the language, Grafana's variables in it, and its bounds."""

import contextlib
import time

import pytest

from deployctl.promql import (
    MAX_QUERY,
    Aggregation,
    Arithmetic,
    FunctionCall,
    LabelMatcher,
    Literal,
    Selector,
    Subquery,
    parse,
    walk,
)


def selectors(query):
    return [part for part, _ in walk(parse(query)) if isinstance(part, Selector)]


def test_a_quantile_is_taken_apart():
    query = (
        'histogram_quantile(0.95, sum by (le, pod) (rate(vllm:x_bucket{job="a",pod!~"b.*"}[5m])))'
    )
    matchers = (LabelMatcher("job", "=", "a"), LabelMatcher("pod", "!~", "b.*"))
    inner = FunctionCall("rate", (Selector("vllm:x_bucket", matchers, "5m"),))
    total = Aggregation("sum", (inner,), ("le", "pod"))
    assert parse(query) == FunctionCall("histogram_quantile", (Literal("0.95"), total))


@pytest.mark.parametrize(
    ("query", "same"),
    [
        ("a + b * c", "a + (b * c)"),
        ("a * b + c", "(a * b) + c"),
        ("a - b - c", "(a - b) - c"),
        ("a ^ b ^ c", "a ^ (b ^ c)"),
        ("-a ^ b", "-(a ^ b)"),
        ("-a * b", "(-a) * b"),
        ("a > b and c or d unless e", "((a > b) and c) or (d unless e)"),
        ("sum(a) by (x)", "sum by (x) (a)"),
        ("SUM BY (x) (a)", "sum by (x) (a)"),
        ("a # said\n + b", "a + b"),
        ('{__name__="a",x="y"}', 'a{x="y"}'),
        ('{"a",x="y"}', 'a{x="y"}'),
        ("a OFFSET - 1d", "a offset -1d"),
        ("a @start( )", "a @ start()"),
        ("a{x='y',}", 'a{x="y"}'),
        (r'a{x="\x41\u00e9\U0001F600\101\t\\d"}', "a{x=`A\u00e9\U0001f600A\t\\d`}"),
        ("a{x=`y\\`}", 'a{x="y\\\\"}'),
        ("a + .5e3 + 0x1F + Inf", "a + .5e3 + 0x1F + inf"),
    ],
)
def test_what_is_written_in_two_ways_is_one(query, same):
    assert parse(query) == parse(same)


def test_labels_of_a_join_are_kept():
    labels, on = ("pod", "node"), "on (pod) group_left (node)"
    query = parse("a / on(pod) group_left(node) b")
    assert query == Arithmetic("/", Selector("a"), Selector("b"), labels, on)
    assert parse("a * ignoring(x) group_right b").labels == ("x",)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ('rate(a{ns="$namespace"}[$__rate_interval])', ["a"]),
        ("rate(a[${interval}])", ["a"]),
        ("rate(a[[[interval]]])", ["a"]),
        ("max_over_time(rate(a[1m])[$__range:$step])", ["a"]),
        ("histogram_quantile($quantile, sum by (le) (a))", ["$quantile", "a"]),
        ("sum(a{$filters}) by ($group)", ["a"]),
        ("sum(a{x=~\"${x:regex}\", $more}) > $limit", ["a", "$limit"]),
        ("rate(vllm:${metric}_total[5m])", ["vllm:${metric}_total"]),
        ("[[metric]] offset $ago", ["[[metric]]"]),
        ("rate(a[$__interval] @ $__from)", ["a"]),
    ],
)  # fmt: skip
def test_variables_of_dashboards_stand_where_people_put_them(query, names):
    found = selectors(query)
    assert [one.name for one in found] == names
    assert [one.variable for one in found] == ["$" in name or "[[" in name for name in names]


def test_a_subquery_has_its_window():
    found = parse("max_over_time(sum(rate(a[1m]))[1h:30s])")
    assert isinstance(found.arguments[0], Subquery)
    assert found.arguments[0].window == "1h:30s"


def test_what_is_around_a_part_is_told_from_outside_in():
    ((_, around),) = [
        x for x in walk(parse("a / sum(rate(b[5m]))")) if x[0] == Selector("b", (), "5m")
    ]
    assert [type(part).__name__ for part in around] == ["Arithmetic", "Aggregation", "FunctionCall"]


@pytest.mark.parametrize(
    "query",
    [
        "", "  ", "a b", "sum(", "sum(a", "a{", 'a{x="y"', "a{x}", 'a{x=="y"}', "a +", "+", "()",
        "a)", "sum by (a", "sum by a (b)", "rate(a)[5m]", "a[5m][5m]", "a offset", "a @",
        "\"x", "a{x='y' z='w'}", "a,b", "f(a b)", "é", "a @ end(", "1 by (x)", "{{ .x }}",
    ],
)  # fmt: skip
def test_what_is_no_query_is_said(query):
    with pytest.raises(ValueError, match=r"."):
        parse(query)


@pytest.mark.parametrize(
    "query",
    [
        "(" * 5000 + "a" + ")" * 4990, "-" * 9999 + "a", "a" + "+a" * 4999, "a" + "^a" * 4999,
        "sum(" * 2400, "a{" * 4000, "f(" * 99 + "a" + ")" * 99, '"' + "\\" * 9000, "[" * 9999,
        "a" * 9999, "1" * 9999, "$" * 9999, "${" * 4999, "a[" + "${x}" * 2400 + "]",
    ],
)  # fmt: skip
def test_every_query_ends_soon(query):
    assert len(query) <= MAX_QUERY
    before = time.process_time()
    with contextlib.suppress(ValueError):
        assert list(walk(parse(query)))
    assert time.process_time() - before < 2


def test_a_query_longer_than_any_is_refused():
    with pytest.raises(ValueError, match="longer than 10000"):
        parse("a" * (MAX_QUERY + 1))
