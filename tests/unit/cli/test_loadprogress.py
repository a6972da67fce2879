from deployctl.cli import loadprogress
from deployctl.events import Event
from deployctl.load.locust import Progress
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
