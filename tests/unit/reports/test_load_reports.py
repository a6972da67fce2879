import io
import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from deployctl.cli import loadtest as load_text
from deployctl.load.summary import summarize
from deployctl.reports import load, wording
from deployctl_loadtest.result import Server, Setup
from deployctl_loadtest.sample import Sample, WorkerReport

EVIL = '<script>alert("x")</script>|`*'


def made(count=120, *, model="m", fail=0):
    setup = Setup(None, "http://h:1", model, "chat", 2, 10, 2, 10, 5, True, 1, 60)
    samples = [
        Sample(
            worker="w",
            started_at_s=i / 12,
            outcome="ok",
            ttft_s=0.1 + i / 1000,
            chunk_gaps_s=[0.02] * 4,
            e2e_s=0.18 + i / 1000,
            duration_s=0.18 + i / 1000,
            input_tokens=10,
            output_tokens=5,
        )
        for i in range(count)
    ]
    samples += [
        Sample("w", 5.0, "http_error", http_status=500, error=EVIL, duration_s=0.1)
        for _ in range(fail)
    ]
    report = WorkerReport("w", 1.8e9, 12.0, count, [(5.0, 0.2)], [(5.0, 0.001)])
    server = Server(count * 5, 1000, 0, 0.09, 0.02, 0.0, 3, 0.0)
    result = summarize(
        setup,
        samples,
        [report],
        lost=0,
        started="2026-11-24T07:45:00+00:00",
        tools={"locust": "2"},
        server=server if count else None,
    )
    return result, samples


class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links, self.ids, self.open = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data")]
        self.ids += [v for k, v in attrs if k == "id"]


@pytest.mark.parametrize(("count", "fail"), [(120, 0), (120, 5), (0, 3), (1, 0), (0, 0)])
def test_the_html_report_is_whole_and_needs_no_network(count, fail):
    result, samples = made(count, fail=fail)
    html = load.html(result, samples)
    page = Elements()
    page.feed(html)
    assert page.tags.count("html") == 1
    assert "script" not in page.tags
    assert [link for link in page.links if not link.startswith(("#", "data:"))] == []
    assert not re.search(r"@import|url\((?!#)", html)
    assert len(page.ids) == len(set(page.ids))
    # Whatever a plot refers to within the document is there.
    for target in re.findall(r'(?:url\(#|xlink:href="#)([^)"]+)', html):
        assert target in page.ids
    rows = bool(wording.latency_rows(result))  # a lone request is in the warm-up
    assert page.tags.count("svg") == rows + 2 * bool(samples)


def test_what_a_server_or_user_wrote_is_never_markup():
    result, samples = made(fail=1, model=EVIL)
    html = load.html(result, samples)
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "<script>" not in load.markdown(result)


@pytest.mark.parametrize(
    "text",
    [
        "a\n\n# head\r\n- item\n1. one\n> said\n---\n| a |",
        "<img src=x> [l](https://evil.example) ![i](x) **b** _i_ ~s~ `c` &lt; $x$ \\",
        "see https://evil.example/a`b`, www.evil.example or mailto:a@b.example, @someone #12 GH-12",
        "- a list", "+ a list", "1) a list", "# a head", "=====", "```", "    code",
    ],
)  # fmt: skip
def test_what_others_wrote_is_one_line_of_words_in_markdown(text):
    made = wording.plain(text)
    assert "\n" not in made
    parsed = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(f"{made}\n")
    assert [block.type for block in parsed] == ["paragraph_open", "inline", "paragraph_close"]
    inside = parsed[1].children
    assert {each.type for each in inside} <= {"text", "code_inline"}
    shown = "".join(each.content for each in inside if each.type == "text")
    for lead in ("https:", "www.", "mailto:", "@", "#1", "GH-"):
        assert lead not in shown
    whole = "".join(each.content for each in inside)
    assert whole.replace(" ", "") == "".join(text.split())


def test_the_same_result_makes_the_same_file():
    result, samples = made()
    assert load.html(result, samples) == load.html(result, samples)


def test_the_terminal_table():
    result, _ = made(fail=2)
    console = Console(file=io.StringIO(), width=140, no_color=True)
    for renderable in load_text.render(result):
        console.print(renderable)
    text = console.file.getvalue()
    ttft = next(line for line in text.splitlines() if line.startswith("TTFT"))
    # 96 requests start in the window, from 0.124 s in steps of 1 ms: p50 0.1715.
    assert re.search(r"ms\s+171\.5\s+171\.5\s", ttft), text
    assert ttft.split()[-1] == "96"
    assert "2 × HTTP 500" in text
    assert "warning: 2 of 98 requests failed (2.0%)" in text
    assert "600 tokens by its own count, 600 by ours" in text
    assert "3 preemptions" in text


def test_numbers_read_well():
    assert [wording.number(v) for v in (0.004, 7.493, 104.94, 1234.5)] == [
        "0.00",
        "7.49",
        "104.9",
        "1,234",
    ]


def test_long_latencies_are_in_seconds():
    result, samples = made()
    slow = [s for s in samples if not s.warmup]
    for sample in slow:
        sample.ttft_s = sample.e2e_s = 30.0
    again = summarize(
        result.setup,
        samples,
        [],
        lost=0,
        started=result.started,
        tools={},
        server=None,
    )
    rows = {row.name: row for row in wording.latency_rows(again)}
    assert (rows["TTFT"].unit, rows["TTFT"].cells[1]) == ("s", "30.0")
    assert rows["ITL"].unit == "ms"


def test_markdown_has_a_row_a_measure():
    text = load.markdown(made()[0])
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")] == [
        "",
        "TTFT",
        "ITL",
        "TPOT",
        "E2E",
    ]
