"""What is told while a study runs: on a terminal, and in a pipe."""

import io
import re

import pytest
from rich.console import Console

from deployctl.cli import console
from deployctl.cli.tune.text import TuneProgress
from deployctl.events import Event
from deployctl.hub.transfer import FetchProgress
from deployctl.operations.tune.progress import StudyProgress, outcome
from deployctl.tuning.events import Done, Restarted
from deployctl.tuning.runner import Begun
from deployctl.tuning.trial import Failure, Invalid, Load, Started
from tune_parts import LOADS, GridSearch, configuration, observation

LOAD = Load("rate", 2.5)


@pytest.fixture
def told(monkeypatch):
    lines = []
    monkeypatch.setattr(console, "story", lambda text, **_: lines.append(text))
    return lines


def shown(terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=200)


def drive(search):
    with TuneProgress() as shown:
        progress = StudyProgress("goodput", search, shown)
        for result in (Started(31.0), observation(LOADS[0], 1.5, ttft_p95_s=0.25)):
            step = search.ask()
            progress(Begun(step, configuration(None), 1))
            search.tell(step, result)
            progress(Done(step, result, 1))
        progress(Begun(search.ask(), configuration(None), 1, restart=True))
        progress(Restarted(configuration(None), 1, Started(28.0)))


def test_how_far_a_download_is_fills_no_log(told, monkeypatch):
    monkeypatch.setattr(console, "err", shown(terminal=False))
    with TuneProgress() as tell:
        tell(Event("phase", "fetching 4.0 GiB of org/tiny"))
        for done in range(100):
            tell(Event("progress", f"{done} MiB of 4.0 GiB", FetchProgress(done, 4096, 1.0)))
        tell(Event("note", "org/tiny is there, whole: 4.0 GiB"))
    assert [line.strip() for line in told] == [
        "fetching 4.0 GiB of org/tiny",
        "org/tiny is there, whole: 4.0 GiB",
    ]


def test_a_pipe_reads_lines(told, monkeypatch):
    monkeypatch.setattr(console, "err", shown(terminal=False))
    drive(GridSearch())
    assert told[0].startswith("trial 1 · baseline (screen: next in the grid) · about ")
    assert told[0].endswith("left")
    assert told[1:] == [
        "  started in 31.0 s",
        "  rate=1: held · 1.5 good of 1.5 requests/s · TTFT p95 250 ms",
        "trial 1 again: baseline is started once more",
        "  started in 28.0 s",
    ]


def test_a_terminal_shows_what_goes_on(told, monkeypatch):
    terminal = shown(terminal=True)
    monkeypatch.setattr(console, "err", terminal)
    drive(GridSearch())
    drawn = terminal.file.getvalue()
    assert re.search(r"trial 1 · starting, [\d.]+ (ms|s) · about ", drawn)
    assert "measuring rate=1 for 10 s" in drawn
    assert "best so far 1.5 good requests/s (baseline)" in drawn
    assert "  started in 31.0 s" in told


@pytest.mark.parametrize(
    ("result", "goal", "text"),
    [
        (Failure("out_of_memory", "no blocks", 3.0), "goodput", "failed (out of memory): no"),
        (Invalid("the client was late", 3.0), "goodput", "invalid measurement: the client"),
        (observation(LOAD, 2.0), "throughput", "held · 128 tokens/s"),
        (observation(LOAD, 2.0, e2e_p95_s=1.25), "latency", "E2E p95 1.2 s"),
        (
            observation(LOAD, 2.0, held="no", why="ttft_p95 missed", failed=3),
            "goodput",
            "not held · 2 good of 2 requests/s · 3 failed · ttft_p95 missed",
        ),
    ],
)
def test_what_came_of_a_step(result, goal, text):
    assert text in outcome(result, goal)
