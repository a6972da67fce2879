"""What is made of the events that a watchdog wrote."""

import json

import pytest

from deployctl.targets import restarts
from deployctl.targets.restarts import NONE, Restarts

AT = "2026-11-24T08:05:07+00:00"


def event(kind="restart", why="exit code 0", count=1, at=AT):
    return json.dumps({"at": at, "event": kind, "why": why, "restarts": count})


def test_the_last_one_counts():
    lines = [event(), event(why="it hung: no answer", count=2, at=AT.replace("08:", "09:"))]
    found = restarts.read(lines)
    assert found == Restarts(2, "2026-11-24T09:05:07+00:00", "it hung: no answer")
    assert found.detail == (
        "started again 2 times, last at 2026-11-24T09:05:07+00:00: it hung: no answer"
    )


def test_memory_is_said_until_the_next_start():
    grown = event("memory", "15.0 GiB of memory")
    found = restarts.read([event(), grown])
    assert found.detail == (
        f"started again once, last at {AT}: exit code 0; it holds 15.0 GiB of memory"
    )
    assert restarts.read([event("memory", "15.0 GiB", 0)]).detail == "it holds 15.0 GiB"
    assert restarts.read([grown, event(count=2)]).memory == ""


def test_the_last_word_is_all_that_is_said():
    found = restarts.read([event(), event("gave-up", "exit code 0; and no more")])
    assert (found.gave_up, found.detail) == (True, "exit code 0; and no more")


@pytest.mark.parametrize(
    "line",
    [
        *("", "{", "[]", "1 requests and no progress for 60 s", "[" * 9999),
        *(event(at=at) for at in ("yesterday", "2026-11-24T08:05:07", None)),
        *(event(count=count) for count in (-1, "1", True, None)),
        *(event(kind=kind) for kind in ("reboot", None, [])),
        event(why=None),
    ],
)
def test_what_is_no_event_is_passed_over(line):
    assert restarts.read([line]) == NONE
    assert restarts.read([event(), line]).number == 1


def test_words_of_a_terminal_are_made_printable():
    assert "\x1b" not in restarts.read([event(why="\x1b[2Jgone")]).why


def test_a_file_is_read_from_its_end(tmp_path):
    file = tmp_path / "events.jsonl"
    assert restarts.of_file(file) == NONE
    file.write_text("".join(event(count=n) + "\n" for n in range(1, 2001)))
    assert restarts.of_file(file).number == 2000
