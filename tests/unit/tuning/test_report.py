"""Reports of a tuning study: one view of it, for a browser, a terminal and a job's summary."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rich.console import Console

from deployctl.cli.tune.text import render
from deployctl.tuning import report
from deployctl.tuning.recommendation import Hardware, Measured
from deployctl.tuning.report import plots, wording
from deployctl.tuning.report.view import study_view
from deployctl.tuning.trial import (
    Answer,
    Configuration,
    Failure,
    Invalid,
    Load,
    Measure,
    Observation,
    Parameter,
    Problem,
    Standing,
    Start,
    Started,
)

EVIL = '<script>alert("x")</script>|`*'
BASE = Configuration()
GOOD = Configuration.of({"max_num_seqs": 64})
OTHER = Configuration.of({"max_num_seqs": 16, "tensor_parallel_size": 2})
BAD = Configuration.of({"gpu_memory_utilization": 0.98})
REFUSED = Configuration.of({"tensor_parallel_size": 3})
PARAMETERS = (
    Parameter("max_num_seqs", (16, 64, 256), 256),
    Parameter("tensor_parallel_size", (1, 2), 1),
)


def observation(rate, tokens, *, held="yes", ttft=0.2):
    return Observation(
        load=Load("rate", rate), seconds=30, spent_s=40, held=held, requests_per_s=rate,
        output_tokens_per_s=tokens, goodput_per_s=rate if held == "yes" else rate / 2,
        goodput_low=0, goodput_high=9, ok=round(30 * rate), failed=0, incomplete=0,
        ttft_p50_s=ttft / 2, ttft_p95_s=ttft, itl_p50_s=0.02, itl_p95_s=0.03,
        e2e_p50_s=1.0, e2e_p95_s=12.0, preemptions=0, why=EVIL,
    )  # fmt: skip


def view(verdict="winner", goal="goodput", winner=True, evil=EVIL, events=True, price=1.6):
    measured = Measured(
        objective=goal, slo="ttft_p95=500ms", model=evil, engine_version="0.32.0",
        target="docker", hardware=Hardware(gpu="l4", gpus=2), workload="chat", seed=7,
        study="study-1", date="2026-11-24T09:00:00+00:00",
    )  # fmt: skip
    done = [
        (Start(BASE, "baseline", "first"), Started(40.0)),
        (Measure(Load("rate", 2), 30, "baseline", "how it is"), observation(2, 300)),
        (Start(GOOD, "screen", evil), Started(40.0)),
        (Measure(Load("rate", 3), 30, "screen", "a look"), observation(3, 500)),
        (Measure(Load("rate", 4), 30, "limit", "more"), observation(4, 520, held="no", ttft=9)),
        (Start(OTHER, "screen", "a look"), Started(50.0)),
        (Measure(Load("rate", 3), 30, "screen", "a look"), Invalid("the client was slow", 30.0)),
        (Start(BAD, "screen", "memory"), Failure("out_of_memory", evil, 61.0)),
        (Start(BASE, "drift", "again"), Started(40.0)),
        (Measure(Load("rate", 2), 30, "drift", "again"), observation(2, 310)),
    ]
    standings = (
        Standing(GOOD, 3.0, 2.8, 3.2, True, Load("rate", 3)),
        Standing(BASE, 2.0, 1.9, 2.1, True, Load("rate", 2)),
    )
    answer = Answer(
        verdict, f"because {evil}", standings[1], standings[0] if winner else None,
        (1.5, 1.3, 1.7) if winner else None, standings,
        (
            (BAD, Failure("out_of_memory", evil, 61.0)),
            (REFUSED, Failure("refused_by_plan", "3", 0)),
        ),
        (f"note {evil}",),
    )  # fmt: skip
    problem = Problem(
        goal, PARAMETERS, 600, None, 7, Load("rate", 1), has_slo=True, gpus=2, usd_per_hour=price
    )
    return study_view(answer, done if events else [], measured, problem, title=f"tiny {evil}")


class Tags(HTMLParser):
    """Which elements there are, what they would fetch, and whether they are closed."""

    VOID = ("meta", "br", "img", "link")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.fetched = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.fetched += [v for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.fetched += [v for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page(seen):
    text = report.html(seen)
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert "script" not in tags.seen
    assert all(each.startswith("#") for each in tags.fetched)
    assert len(re.findall(r'\bid="([^"]+)"', text)) == len(set(re.findall(r'\bid="([^"]+)"', text)))
    return text, tags


def terminal(seen, width=100):
    console = Console(file=io.StringIO(), width=width)
    for renderable in render(seen):
        console.print(renderable)
    return console.file.getvalue()


def test_the_view_keeps_every_fact():
    seen = view()
    assert [c.name for c in seen.candidates] == ["max_num_seqs=64", "baseline"]
    assert [c.role for c in seen.candidates] == ["winner", "baseline"]
    assert dict(seen.baseline.settings) == {"max_num_seqs": 256, "tensor_parallel_size": 1}
    assert dict(seen.winner.settings) == {"max_num_seqs": 64, "tensor_parallel_size": 1}
    assert [len(c.runs) for c in seen.candidates] == [2, 2]
    assert [e.outcome for e in seen.events] == [
        "ok", "ok", "ok", "ok", "missed", "ok", "invalid", "failed", "ok", "ok",
    ]  # fmt: skip
    assert seen.events[2].begun_s == 80.0
    assert seen.spent_s == 40 * 3 + 50 + 61 + 4 * 40 + 30
    # A failure is told once; what the planner refused was no step, and is told too.
    assert [(str(tried), failure.kind) for tried, failure in seen.failures] == [
        ("gpu_memory_utilization=0.98", "out_of_memory"),
        ("tensor_parallel_size=3", "refused_by_plan"),
    ]
    assert seen.parameters == ("max_num_seqs",)


def test_the_page_needs_nothing_and_shows_all_of_it():
    text, tags = page(view())
    assert tags.seen.count("svg") == 4
    for heading in (
        "Baseline against winner", "Throughput against latency", "What each setting does",
        "Configurations, best first", "Configurations that failed, and why", "Time and cost",
        "Step by step", "Notes", "What was measured",
    ):  # fmt: skip
        assert f"<h2>{heading}</h2>" in text
    assert "max_num_seqs=64: 1.50 times the goodput of the baseline (95% interval 1.30" in text
    assert "7 min 01 s of the server&#39;s time, of 10 min 00 s allowed; about $0.19" in text


@pytest.mark.parametrize("price", [None, 1.6])
@pytest.mark.parametrize("goal", ["goodput", "throughput", "latency", "cost"])
@pytest.mark.parametrize(
    ("verdict", "winner"),
    [
        ("winner", True),
        ("no_clear_winner", False),
        ("baseline_best", False),
        ("nothing_feasible", False),
        ("interrupted", True),
        ("interrupted", False),
    ],
)
def test_every_verdict_for_every_goal_can_be_told(verdict, winner, goal, price):
    seen = view(verdict, goal, winner, evil="x", price=price)
    assert wording.headline(seen) in terminal(seen, 400)
    assert wording.headline(seen).replace("_", r"\_") in report.markdown(seen)


def test_a_study_that_tried_nothing_else_does_not_speak_of_noise():
    seen = view("no_clear_winner", "goodput", False)
    assert "within the noise" in wording.headline(seen)
    alone = tuple(c for c in seen.candidates if c.role == "baseline")
    alone = replace(seen, candidates=alone)
    assert wording.headline(alone).startswith("Only the baseline")


@pytest.mark.parametrize("verdict", ["nothing_feasible", "interrupted"])
def test_a_study_that_had_measured_nothing(verdict):
    seen = view(verdict, winner=False, events=False)
    empty = replace(seen, candidates=(), failures=(), notes=(), parameters=(), improvement=None)
    _, tags = page(empty)
    assert "svg" not in tags.seen
    assert wording.phases(empty) == []
    assert terminal(empty)
    assert report.markdown(empty)


def test_what_the_engine_said_is_no_markup():
    assert EVIL not in page(view())[0]
    assert "<script>" not in report.markdown(view())


def test_the_same_study_gives_the_same_bytes():
    assert report.html(view()) == report.html(view())


def test_the_front_is_of_those_that_no_other_beats():
    points = [(1, 5, "a", True), (2, 3, "b", True), (2, 9, "c", True), (3, 4, "d", True)]
    assert [p[2] for p in plots.front(points)] == ["b", "d"]


def test_less_is_better_where_it_is():
    seen = view(goal="cost")
    assert "cost better by a factor of 1.50" in wording.headline(seen)
    assert not seen.more_is_better


def test_the_phases_add_up():
    rows = wording.phases(view())
    assert [row.name for row in rows][-1] == "in all"
    assert sum(row.starts for row in rows[:-1]) == rows[-1].starts == 5
    assert sum(row.runs for row in rows[:-1]) == rows[-1].runs == 5
    assert rows[-1].share == "100%"
