"""Requests under way end before their engine is stopped, in reason."""

import http.server
import threading

import pytest

from deployctl.endpoint import Endpoint
from deployctl.errors import StateError
from deployctl.targets.drain import DRAIN_S, NOTICE_S, SILENT
from deployctl.targets.readiness import under_way
from deployctl.targets.store import ServiceRef
from deployctl_door.drain import CHECK_S

REF = ServiceRef("process", "tiny")


@pytest.fixture
def running(world, make_release):
    """Revision 1, which runs; `counts` says what /metrics will, one a question."""
    world.up(make_release())
    world.driver.did.clear()
    world.told.clear()
    world.now = 0.0

    def go(counts):
        told = iter(counts)
        world.under_way = lambda revision: next(told)
        return world

    return go


def forever(count):
    while True:
        yield count


def down(world):
    world.rollout().down(volumes=False)
    return [what for what, _ in world.driver.did]


def test_requests_under_way_end_first(running):
    world = running([2, 2, 1, 0])
    assert down(world) == ["close", "stop"]
    assert world.notes() == ["waiting for 2 requests under way, 60 s at most"]
    assert 0 < world.now < 1


def test_with_nothing_under_way_the_door_is_given_time_to_close_and_no_more(running):
    world = running([0, 0])
    assert down(world) == ["close", "stop"]
    assert world.notes() == []
    assert world.now == NOTICE_S


def test_a_request_that_came_in_before_the_door_closed_is_waited_for(running):
    world = running([0, 1, 0])
    assert down(world) == ["close", "stop"]
    assert world.notes() == ["waiting for 1 request under way, 60 s at most"]


def test_what_does_not_end_is_cut(running):
    world = running(forever(3))
    assert down(world) == ["close", "stop"]
    assert world.notes()[-1] == "cutting 3 requests under way after 60 s"
    assert world.told[-1].kind == "warning"
    assert DRAIN_S <= world.now < DRAIN_S + 1


def test_an_engine_that_does_not_say_is_stopped_at_once(running):
    world = running(forever(None))
    assert down(world) == ["stop"]
    assert world.now == 0.0


def test_a_dead_engine_is_not_asked(running):
    world = running([])
    world.driver.dead[1] = "exit code 1"
    assert down(world) == ["stop"]
    assert world.now == 0.0


def test_one_that_dies_meanwhile_is_not_waited_for_and_one_that_is_busy_is(running):
    world = running([1, 1, *[None] * (SILENT - 1), 1, *[None] * SILENT])
    assert down(world) == ["close", "stop"]
    assert len(world.notes()) == 1


def test_one_that_was_told_before_is_not_waited_for_again(running):
    world = running(forever(1))
    world.driver.close_door(world.store.releases(REF)[0])
    assert down(world) == ["close", "close", "stop"]
    assert world.now == 0.0


def test_ctrl_c_ends_the_waiting_and_not_the_stopping(running, make_release):
    def interrupted():
        yield 1
        raise KeyboardInterrupt

    world = running(interrupted())
    with pytest.raises(KeyboardInterrupt):
        down(world)
    assert world.driver.running == set()


def test_an_update_waits_and_its_start_has_all_of_its_time(running, make_release):
    world = running([1, *[1] * 100, 0, None])
    update = make_release(port=9000)
    outcome = world.rollout().up(update.spec, update.plan, update.bundle)
    assert [what for what, _ in world.driver.did][-3:] == ["close", "stop", "start"]
    assert world.now > 10
    assert outcome.seconds < 1


def test_what_cannot_be_asked_is_stopped_all_the_same(running, monkeypatch):
    def gone(release):
        raise StateError("the service's API key is gone")

    world = running([])
    monkeypatch.setattr(world.driver, "endpoint", gone)
    assert down(world) == ["stop"]
    assert "not waited for: the service's API key is gone" in world.notes()[0]


PAGES = {
    "a door": (200, "# TYPE x gauge\nx 1\ndeployctl_door_requests_under_way 7\n", 7),
    "no door": (200, "vllm:num_requests_running 3\n", None),
    "refused": (401, "deployctl_door_requests_under_way 7\n", None),
}


@pytest.mark.parametrize(("status", "page", "count"), PAGES.values(), ids=PAGES)
def test_the_count_is_the_door_s_own(status, page, count):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert under_way(Endpoint(url, "m", "key", operator_token="token")) == count
        thread.join()
    assert asked == [("/metrics", "Bearer token")]
    assert under_way(Endpoint(url, "m", None)) is None


def test_the_time_for_the_door_is_more_than_it_takes():
    assert NOTICE_S > CHECK_S
