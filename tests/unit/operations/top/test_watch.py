"""How a service is followed: looked at, read, and what becomes of what does not answer."""

import threading
from datetime import UTC, datetime

import pytest

from deployctl.endpoint import Endpoint
from deployctl.errors import TargetError
from deployctl.operations.top import watch
from deployctl.operations.top.row import Change, Row
from deployctl.operations.top.watch import Board, Look, Watcher, look_at
from deployctl.targets import open_store
from deployctl.targets.process.runs import run_of
from deployctl.targets.store import ServiceRef
from top_parts import PAGE, reading, times

ONE, TWO = (Endpoint(f"http://127.0.0.1:{port}", "m", None) for port in (1, 2))


class Scene:
    """A service whose engines do as they are told, on a clock that goes when it is told."""

    def __init__(self, *endpoints, **look):
        self.now = 0.0
        self.looks = 0
        self.look = Look(**{"health": "serving", "endpoints": endpoints, **look})
        self.away = {}  # why an engine does not answer, by its address
        self.page = PAGE
        self.watcher = Watcher(
            Row("chat", "process"), self._looked, self._asked, clock=lambda: self.now
        )

    def _looked(self):
        self.looks += 1
        if isinstance(self.look, Exception):
            raise self.look
        return self.look

    def _asked(self, endpoint):
        if error := self.away.get(endpoint.url):
            raise error
        return reading(self.page, self.now)

    def step(self, seconds=2.0):
        self.now += seconds
        self.watcher.step()
        return self.watcher.row(patience_s=20.0)


def test_rates_come_with_the_second_reading():
    scene = Scene(ONE, url=ONE.url, revision=3)
    first = scene.step()
    assert (first.health, first.revision, first.figures.generation_tokens_per_s) == (
        "serving", 3, None,
    )  # fmt: skip
    scene.page = times(PAGE, 2)
    assert scene.step(4.0).figures.generation_tokens_per_s == 4032 / 4
    assert scene.watcher.trend.newest(lambda m: m.output) == 4032 / 4


def test_an_engine_that_does_not_answer_is_a_row_that_says_so_and_comes_back():
    scene = Scene(ONE)
    scene.step()
    scene.away[ONE.url] = TargetError("the service does not answer: no answer within 5.0 s")
    row = scene.step()
    assert (row.health, row.silent, row.figures) == ("silent", 1, None)
    assert "no answer within 5.0 s" in row.detail
    scene.away.clear()
    scene.page = times(PAGE, 2)
    row = scene.step()
    assert row.health == "serving"
    assert row.figures.seconds == 4.0  # since it answered last
    assert row.figures.generation_tokens_per_s == 4032 / 4


def test_one_engine_of_two_that_does_not_answer_is_told():
    scene = Scene(ONE, TWO)
    scene.away[TWO.url] = TargetError("it hangs")
    row = scene.step()
    assert (row.health, row.engines, row.silent, row.detail) == ("serving", 1, 1, "it hangs")


def test_an_engine_of_two_that_comes_back_is_compared_with_what_it_said_last():
    scene = Scene(ONE, TWO)
    scene.step()
    scene.away[TWO.url] = TargetError("it hangs")
    scene.step()
    scene.away.clear()
    scene.page = times(PAGE, 2)
    assert scene.step().figures.generation_tokens == 2 * 4032


def test_a_starting_engine_is_no_silent_one():
    scene = Scene(ONE, health="starting")
    scene.away[ONE.url] = TargetError("connection refused")
    assert scene.step().health == "starting"


def test_a_service_that_cannot_be_looked_at_is_a_row_too():
    scene = Scene()
    scene.look = TargetError("the cluster does not answer", where="https://10.0.0.1")
    row = scene.step()
    assert (row.health, row.detail) == (
        "unknown", "the cluster does not answer (https://10.0.0.1)",
    )  # fmt: skip


def test_a_bug_with_one_service_ends_no_screen():
    scene = Scene()
    scene.look = RuntimeError("oh")
    assert scene.step().detail == "a bug in deployctl: RuntimeError: oh"


def test_records_are_read_now_and_then_and_at_once_when_something_is_wrong():
    scene = Scene(ONE)
    for _ in range(5):
        scene.step(1.0)
    assert scene.looks == 1
    scene.step(watch.LOOK_EVERY_S)
    assert scene.looks == 2
    scene.away[ONE.url] = TargetError("gone")
    scene.step(1.0)
    scene.step(1.0)
    assert scene.looks == 3


@pytest.mark.parametrize(("health", "looks"), [("dead", 3), ("stopped", 1)])
def test_what_died_may_come_back_any_moment_and_what_was_stopped_is_left_alone(health, looks):
    scene = Scene(health=health)
    for _ in range(3):
        assert scene.step(1.0).health == health
    assert scene.looks == looks


def test_what_hangs_for_longer_than_a_scrape_may_take_says_so():
    scene = Scene(ONE)
    scene.step()
    scene.now += 21.0
    row = scene.watcher.row(patience_s=20.0)
    assert (row.health, row.detail) == ("silent", "nothing was heard of it for 21 s")


def test_one_that_is_slow_holds_up_no_other(monkeypatch):
    held, read_again = threading.Event(), threading.Semaphore(0)

    def read(endpoint, timeout_s):
        if endpoint is ONE:
            held.wait()
        read_again.release()
        return reading()

    monkeypatch.setattr(watch, "read", read)
    board = Board(0.01)
    board.watch_address(ONE)
    board.watch_address(TWO)
    for _ in range(2):  # the second time, what was read the first time is a row
        assert read_again.acquire(timeout=60)
    healths = {row.service: row.health for row, _ in board.seen()}
    assert healths == {ONE.url: "asking", TWO.url: "serving"}
    board.end()
    held.set()


@pytest.fixture
def recorded(monkeypatch, settings):
    """A service of two revisions whose engine is not there; saves more."""
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(settings.state_dir))
    store = open_store(settings)
    ref = ServiceRef("process", "tiny")

    def save(release):
        store.save(ref, release)
        return ref

    return save


def test_what_changed_last_is_the_newest_revision_though_it_failed(recorded, make_release):
    recorded(make_release(1, "deployed"))
    ref = recorded(make_release(2, "failed").model_copy(update={"message": "no memory"}))
    look = look_at(ref)()
    assert (look.health, look.revision) == ("dead", 1)
    assert look.change == Change(2, "failed", "2026-11-24T07:00:00+00:00", "up", "no memory")


def test_what_was_stopped_for_a_shutdown_has_not_died(recorded, make_release, settings):
    release = make_release(1, "deployed")
    ref = recorded(release)
    run = run_of(settings.state_dir / "process" / "tiny", release)
    run.folder.mkdir(parents=True)
    run.halt(datetime(2026, 11, 24, 7, tzinfo=UTC))
    look = look_at(ref)
    assert look().health == "halted"
    assert look().detail == (
        "stopped for a shutdown at 2026-11-24T07:00:00+00:00; deployctl boot --start, or its unit "
        "at the next boot, starts it"
    )
    run.forget()  # it was taken down, or is started
    assert look().health == "dead"


def test_a_service_that_was_taken_down_is_no_row_unless_it_is_named(recorded, make_release):
    recorded(make_release(1, "removed"))
    for names, rows in (([], 0), (["tiny"], 1)):
        board = Board(0.01)
        board.watch(names, "process")
        board.wait(1)
        assert len(board.seen()) == rows
        board.end()
