"""Waiting for the parts of monitoring."""

from types import SimpleNamespace

import httpx
import pytest

from deployctl.errors import EngineError
from deployctl.operations.monitoring import ready
from deployctl.render.monitoring.stack import StackSettings

NAME = "prometheus_config_last_reload_success_timestamp_seconds"


@pytest.mark.parametrize(
    ("page", "has_read"),
    [(f"{NAME} 20\n", True), (f"{NAME} 5\n", False), (f"{NAME} soon\n", False), (None, False)],
)
def test_a_part_has_read_its_files_when_it_says_so(monkeypatch, page, has_read):
    monkeypatch.setattr(ready, "_page", lambda settings, part, path: page)
    assert ready._read_since(StackSettings(), "prometheus", 10.0) is has_read


class Parts:
    """Answers of parts, and a clock that goes on as they are asked."""

    def __init__(self, monkeypatch, answers):
        self.now, self.answers, self.told = 0.0, answers, []
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        monkeypatch.setattr(ready, "time", clock)
        monkeypatch.setattr(ready, "_response", self.response)

    def sleep(self, seconds):
        self.now += 5.0

    def response(self, settings, part, path):
        status, segment = self.answers(self.now) if part == "prometheus" else (200, 0)
        if path == "/api/v1/status/walreplay":
            return httpx.Response(200, json={"data": {"min": 10, "max": 13, "current": segment}})
        return status and httpx.Response(status)

    def wait(self, **more):
        stack = SimpleNamespace(last_words=lambda part: (f"last of {part}",))
        ready.wait_ready(stack, StackSettings(), lambda event: self.told.append(event.text), **more)


def test_a_prometheus_that_replays_its_log_is_waited_for(monkeypatch):
    parts = Parts(monkeypatch, lambda now: (200 if now > 600 else 503, 10 + int(now / 200)))
    parts.wait()
    said = "prometheus reads what it recorded before: segment"
    assert parts.told == [f"{said} {n} of 4" for n in (1, 2, 3, 4)]
    with pytest.raises(EngineError, match=r"not ready after 5 min.*segment 3 of 4") as ended:
        Parts(monkeypatch, lambda now: (503, 12)).wait(replay_s=300.0)
    assert ended.value.timed_out


@pytest.mark.parametrize(
    "answers",
    [lambda now: (None, 0), lambda now: (500, 0), lambda now: (503 if now < 60 else None, 11)],
    ids=["never up", "broken", "died while it read"],
)
def test_a_prometheus_that_is_dead_is_not(monkeypatch, answers):
    parts = Parts(monkeypatch, answers)
    with pytest.raises(EngineError, match="prometheus has not answered for 1 min 30 s") as ended:
        parts.wait()
    assert ended.value.log_tail == ("last of prometheus",)
    assert parts.now <= 155
