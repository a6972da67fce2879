"""SLO verdicts as JUnit, markdown, terminal and HTML; reports of a series."""

import dataclasses
import io
import re
from xml.etree import ElementTree

import pytest
from rich.console import Console

from deployctl.cli import loadtest as load_text
from deployctl.reports import load, series
from deployctl_loadtest.result import Agreement, ServerMoment
from deployctl_loadtest.series import Limit, Point, Series
from verdict_parts import MISSED, made, sweep

EVIL = '<script>alert("x")</script>|`\x00*'


def cases(xml):
    tree = ElementTree.fromstring(xml)
    suite = tree.find("testsuite")
    kinds = {
        case.get("name"): (case[0].tag if len(case) else "passed")
        for case in suite.findall("testcase")
    }
    counts = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
    return kinds, counts


def test_junit_has_a_case_an_objective():
    kinds, counts = cases(load.junit(made()[0]))
    assert kinds == {
        "trustworthy": "passed",
        "ttft_p95 ≤ 500.0 ms": "passed",
        "error_rate ≤ 50%": "passed",
    }
    assert counts == {"tests": 3, "failures": 0, "errors": 0, "skipped": 0}


def test_junit_tells_missed_unresolved_and_spoilt_apart():
    result, _ = made(MISSED + ",error_rate=0.1%", count=30, cpu=0.99)
    kinds, counts = cases(load.junit(result))
    assert kinds == {
        "trustworthy": "error",
        "ttft_p95 ≤ 100.0 ms": "failure",
        "itl_p99.9 ≤ 50.0 ms": "skipped",
        "error_rate ≤ 0.1%": "skipped",
    }
    assert counts == {"tests": 4, "failures": 1, "errors": 1, "skipped": 2}
    assert "limit 100.0 ms, 95% interval" in load.junit(result)


def test_nothing_from_outside_breaks_the_documents():
    result, samples = made(model=EVIL)
    ElementTree.fromstring(load.junit(result))  # a NUL would not be XML
    assert "<script>" not in load.markdown(result)
    assert "<script>" not in load.html(result, samples)
    one = Series(1, "sweep", result.started, "users", [Point(2.0, "users-2", result)])
    assert "<script>" not in series.html(one)
    assert "<script>" not in series.markdown(one)


@pytest.mark.parametrize("character", ["\ufffe", "\uffff", "\ud800", "\x00", "\x1f"])
def test_what_xml_cannot_hold_is_replaced_in_junit(character):
    result, _ = made(model=f"m{character}")
    limit = Limit("ttft_p95=1s", "never_held", 2.0, 4.0, 1.0, 0.9, 1.1, f"None{character}.")
    found = dataclasses.replace(sweep(), points=[Point(1.0, "users-1", result)], limit=limit)
    for xml in (load.junit(result), series.junit(found)):
        suite = ElementTree.fromstring(xml.encode("utf-8"))[0]
        assert "\ufffd" in suite.get("name")


def test_verdicts_are_in_every_report():
    result, samples = made(MISSED)
    console = Console(file=io.StringIO(), width=100, no_color=True)
    for renderable in load_text.render(result):
        console.print(renderable)
    told = console.file.getvalue()
    assert re.search(r"ttft_p95 +missed +\S+ ms +100\.0 ms", told)
    assert re.search(r"Goodput +\S+ requests/s met the whole SLO", told)
    assert "Gate not passed" in told
    text = load.markdown(result)
    assert "| ttft_p95 | ❌ missed |" in text
    assert "**Gate not passed**: ttft\\_p95 missed" in text
    html = load.html(result, samples)
    assert '<span class="pill missed">missed</span>' in html
    assert "Gate not passed" in html
    without, samples = made(None)
    assert "SLO" not in load.markdown(without)
    assert "Is the SLO held?" not in load.html(without, samples)


def test_the_server_is_shown_beside_the_client():
    apart = Agreement("ttft_p50", 0.5, 0.1, 0.2, 0.3, agrees=False)
    result, samples = made(agreement=[apart])
    assert "server_gap" in [verdict.code for verdict in result.verdicts]
    looks = [ServerMoment(float(i), 2, i % 2, 0.1 * i, i, 0.0, 5, 5, 0.1, 0.02) for i in range(5)]
    html = load.html(result, samples, looks)
    assert "What the server says" in html
    assert "10 preemptions" in html
    assert "100.0 to 200.0 ms" in html
    assert html == load.html(result, samples, looks)
    bare = [dataclasses.replace(look, kv_cache_usage=None, running=None) for look in looks]
    assert "KV cache in use" in html
    assert "KV cache in use" not in load.html(result, samples, bare)


def test_a_series_has_its_documents():
    found = sweep()
    html = series.html(found)
    assert "Throughput against latency" in html
    assert html.count("<svg") == 1
    assert html.count('class="pill met"') == 2
    assert not re.search(r"""(src|href)=["']http|@import|url\((?!#)""", html)
    assert 'href="users-4/report.html"' in html
    text = series.markdown(found)
    assert len(re.findall(r"^\| [124] ", text, re.M)) == 3
    suites = ElementTree.fromstring(series.junit(found)).findall("testsuite")
    assert [suite.get("name") for suite in suites] == [
        f"loadtest m users={users}" for users in (1, 2, 4)
    ]
    limit = Limit("ttft_p95=1s", "found", 2.0, 4.0, 1.0, 0.9, 1.1, "It holds 2 users.")
    assert "It holds 2 users." in series.html(dataclasses.replace(found, limit=limit))
    assert series.html(dataclasses.replace(found, points=[]))


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_the_same_table(width):
    console = Console(file=io.StringIO(), width=width, no_color=True)
    for renderable in load_text.render_series(sweep()):
        console.print(renderable)
    lines = console.file.getvalue().splitlines()
    for row in series.rows(sweep()):
        cells = [row.label, *row.cells, row.goodput, row.verdict]
        assert cells in [line.split() for line in lines]
    assert "…" not in console.file.getvalue()
