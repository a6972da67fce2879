import io
import json
from types import SimpleNamespace

import pytest
from rich.console import Console

from deployctl.cli import loadprogress, loadtest
from deployctl.cli.console import Output
from deployctl.errors import StateError
from deployctl.events import Event
from deployctl.load.locust import Progress
from deployctl.operations.measure import loadtest as loadtests
from deployctl_loadtest.result import Setup

SETUP = Setup(None, "http://h:1", "m", "chat", 2, 10, 5, 10, 5, True, 1, 60)


def test_in_a_pipe_a_line_now_and_then(monkeypatch):
    said, now = [], [100.0]
    monkeypatch.setattr(loadprogress, "story", said.append)
    monkeypatch.setattr(loadprogress.time, "monotonic", lambda: now[0])
    with loadprogress.LoadProgress() as tell:
        tell(Event("phase", "2 users", SETUP))
        for second in range(1, 13):
            state = Progress(second, 2, 3 * second, second // 12, 40 * second)
            tell(Event("progress", "", state))
            now[0] += 1.0
    assert said == [
        "2 users",
        "warming up 1/15 s · 2 users · 3 requests done · 40 tok/s",
        "measuring 11/15 s · 2 users · 33 requests done · 40 tok/s",
    ]


def test_a_note_about_a_run_that_begins_does_not_end_its_progress(monkeypatch):
    said, now = [], [100.0]
    monkeypatch.setattr(loadprogress, "story", said.append)
    monkeypatch.setattr(loadprogress, "tell", lambda event: said.append(event.text))
    monkeypatch.setattr(loadprogress.time, "monotonic", lambda: now[0])
    with loadprogress.LoadProgress() as tell:
        tell(Event("phase", "2 users", SETUP))
        tell(Event("note", "lengths are approximate"))
        now[0] += 20
        tell(Event("progress", "", Progress(7, 2, 3, 0, 40)))
    assert said[:2] == ["2 users", "lengths are approximate"]
    assert said[2].startswith("measuring 7/15 s")


def test_the_answer_of_a_test_that_was_not_written_goes_to_stdout_and_not_into_the_bar(
    monkeypatch, capsys
):
    outcome = SimpleNamespace(document=lambda: {"folder": "results/m"})

    def load_test(*_, tell, **__):
        tell(Event("phase", "2 users", SETUP))
        raise loadtests.UnreportedError(StateError("the disk is full"), outcome)

    monkeypatch.setattr(loadtests, "load_test", load_test)
    terminal = Console(file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr(loadprogress, "err", terminal)
    with pytest.raises(StateError):
        loadtest._measure(None, None, None, None, Output.json)
    assert json.loads(capsys.readouterr().out) == {"folder": "results/m"}
