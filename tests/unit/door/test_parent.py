"""The watchdog's eyes: one look at a fake engine, a server that answers as it is told."""

import json
import subprocess
import sys
import threading

import pytest

import engine_parent
from engine_watchdog import Look, Settings, Signs
from unit.door.test_alive import TOKEN, FakeEngine, page


@pytest.fixture
def fake():
    server = FakeEngine()
    yield server
    server.close()


@pytest.fixture
def look(fake, tmp_path):
    (tmp_path / "token").write_text(TOKEN)

    def once(**more):
        told = {"events": "e", "token": str(tmp_path / "token"), "stall_s": 60.0, **more}
        return engine_parent.look(Settings(port=fake.port, answer_s=5.0, **told))

    return once


def test_an_engine_that_moves_is_well_and_one_without_requests_idle(look, fake):
    assert look() == Look()
    fake.answers["/metrics"] = (200, page(running=0, waiting=0))
    assert look() == Look(idle=True)


def test_one_that_stands_still_is_ill_at_once(look, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(engine_parent.alive.time, "monotonic", lambda: now[0])
    assert look() == Look()
    now[0] += 60
    assert look() == Look("it hung: 3 requests and no progress for 60 s")
    assert look(stall_s=0.0) == Look()


@pytest.mark.parametrize("status", [401, 500])
def test_what_its_metrics_do_not_tell_is_no_illness(look, fake, status):
    fake.answers["/metrics"] = (status, "")
    assert look() == Look()


def test_neither_is_a_folder_that_takes_no_notes(look, tmp_path):
    (tmp_path / "alive.json").mkdir()
    assert look() == Look()


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (503, Look("its core died: /health says 503", 4.0)),
        (500, Look("it hung: /health says 500", 60.0)),
    ],
)
def test_a_core_that_died_is_known_by_its_status(look, fake, status, found):
    fake.answers["/health"] = (status, "")
    assert look() == found


def test_silence_has_as_long_as_a_stall_or_two_minutes_and_a_half(look, fake):
    fake.answers["/health"] = (None, "")
    silent = "it hung: no answer ("
    assert look().problem.startswith(silent)
    assert [look(stall_s=s).patience_s for s in (60.0, 300.0, 0.0)] == [60, 150, 150]


def test_a_look_that_fails_is_said_once_and_is_not_the_last(monkeypatch):
    """Made without its constructor, which takes the signals of this process."""
    looked, said = threading.Event(), []
    found = [ValueError("odd"), ValueError("odd"), Look()]

    def look(settings):
        if isinstance(found[0], Exception):
            raise found.pop(0)
        looked.set()
        return found[0]

    monkeypatch.setattr(engine_parent, "look", look)
    monkeypatch.setattr(engine_parent, "LOADING_LOOK_S", 0.001)
    machine = object.__new__(engine_parent.Machine)
    machine._settings = Settings(port=1, events="e")
    machine._wake_read, machine._wake_write = engine_parent.os.pipe()
    monkeypatch.setattr(machine, "say", said.append)
    machine.look_on(Signs(machine._settings, 0.0, first=True))
    assert looked.wait(20)
    machine._stop.set()
    machine._looking.join()
    assert machine.last_look() == Look()
    assert said == ["cannot look at the engine: ValueError('odd')"]
    for end in (machine._wake_read, machine._wake_write):
        engine_parent.os.close(end)


@pytest.mark.parametrize(
    ("groups", "files", "kills", "limit"),
    [
        ("0::/\n", {"memory.events": "oom 1\noom_kill 2\n", "memory.max": "max\n"}, 2, None),
        ("0::/a/b\n", {"a/b/memory.events": "oom_kill 3\n", "a/b/memory.max": "4096\n"}, 3, 4096),
        (
            "4:memory:/docker/x\n0::/\n",
            {"memory/memory.oom_control": "oom_kill 1\n", "memory/memory.limit_in_bytes": "8192\n"},
            1,
            8192,
        ),
    ],
)
def test_memory_is_that_of_the_control_group(tmp_path, monkeypatch, groups, files, kills, limit):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "own").write_text(groups)
    monkeypatch.setattr(engine_parent, "_CGROUPS", tmp_path)
    monkeypatch.setattr(engine_parent, "_OWN_CGROUP", tmp_path / "own")
    assert engine_parent.oom_kills() == kills
    there = engine_parent.os.sysconf("SC_PHYS_PAGES") * engine_parent.os.sysconf("SC_PAGE_SIZE")
    assert engine_parent.memory() == (limit or there)


def test_an_engine_is_told_how_often_it_was_started_again():
    settings = json.dumps({"port": 1, "events": "/dev/null", "restarts": 0})
    engine = [
        sys.executable,
        "-S",
        "-c",
        f"import os; print(os.environ[{engine_parent.RESTARTS!r}])",
    ]
    command = [sys.executable, "-I", "-S", engine_parent.__file__, settings, *engine]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
