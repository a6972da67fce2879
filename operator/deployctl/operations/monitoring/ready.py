"""Waits until the parts of monitoring answer, and have read what they were given."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deployctl.endpoint import Endpoint
from deployctl.errors import EngineError
from deployctl.events import Event, Tell, silent
from deployctl.metrics.snapshot import families_of
from deployctl.render.monitoring.stack import StackSettings, parts
from deployctl.targets.docker.monitoring import MonitoringProject
from deployctl.units import duration
from deployctl_loadtest import foreign
from deployctl_loadtest.foreign import MAX_METRICS

if TYPE_CHECKING:
    import httpx

START_S = 90.0  # Grafana makes its database at the first start
REPLAY_S = 1800.0  # Prometheus reads what it recorded last: gigabytes, after it was killed
_RELOAD_S = 15.0
_ASK_S = 5.0
_POLL_S = 0.25
_HELD = {"prometheus": "prometheus_config", "alertmanager": "alertmanager_config"}


def wait_ready(
    stack: MonitoringProject,
    settings: StackSettings,
    tell: Tell = silent,
    *,
    replay_s: float = REPLAY_S,
) -> None:
    """Returns when every part says that it is ready. A Prometheus that replays its log has
    `replay_s` for that: it answers that it is not ready (503), and is not dead.

    Raises:
        EngineError: one does not within a minute and a half, or that time; it has its last words.
    """
    waiting = _Waiting(settings, tell, replay_s)
    for part in settings.parts:
        waiting.until_ready(stack, part)


class _Waiting:
    """Waits for parts, one after the other, and says why one of them takes long."""

    def __init__(self, settings: StackSettings, tell: Tell, longest_s: float) -> None:
        self._settings, self._tell, self._longest_s = settings, tell, longest_s
        self._began = self._seen = time.monotonic()
        self._told = ""

    def until_ready(self, stack: MonitoringProject, part: str) -> None:
        while (reply := self._ask(part)) is None or reply.status_code != 200:
            now = time.monotonic()
            reads = part == "prometheus" and reply is not None and reply.status_code == 503
            if reads:
                self._seen = now
                self._say()
            over = now - self._began >= self._longest_s if reads else now - self._seen >= START_S
            if over:
                said = f"has not answered for {duration(START_S)}"
                if reads:
                    said = f"is not ready after {duration(self._longest_s)}: it {self._told}"
                raise _failed(stack, self._settings, part, said, timed_out=True)
            time.sleep(_POLL_S)

    def _ask(self, part: str) -> "httpx.Response | None":
        return _response(self._settings, part, str(parts()[part]["ready"]))

    def _say(self) -> None:
        """How far it is; told where that is other than the last time."""
        page = _response(self._settings, "prometheus", "/api/v1/status/walreplay")
        text = "reads what it recorded before" + _segment(page.content if page else b"")
        if text != self._told:
            self._told = text
            self._tell(Event("progress", f"prometheus {text}"))


def _segment(page: bytes) -> str:
    """Which segment of how many it reads, of its log; nothing where it does not say."""
    try:
        data = foreign.document(page)["data"]
        first, last, current = (int(data[name]) for name in ("min", "max", "current"))
    except (ValueError, KeyError, TypeError, OverflowError):
        return ""
    return f": segment {max(1, current - first + 1)} of {last - first + 1}"


def reloaded(
    stack: MonitoringProject, settings: StackSettings, asked: Sequence[str], *, since: float
) -> None:
    """Returns when each part has read its files again. `since`: a UNIX time before it was told to.

    Raises:
        EngineError: it could not, and goes on with the former.
    """
    said = "did not take its new configuration, and goes on with the former"
    deadline = time.monotonic() + _RELOAD_S
    for part in asked:
        while not _read_since(settings, part, since):
            if time.monotonic() >= deadline:
                raise _failed(stack, settings, part, said)
            time.sleep(_POLL_S)


def _failed(
    stack: MonitoringProject,
    settings: StackSettings,
    part: str,
    said: str,
    *,
    timed_out: bool = False,
) -> EngineError:
    return EngineError(
        f"{part} {said}",
        where=settings.url(part),
        hint=f"its whole log: docker logs deployctl_monitoring-{part}-1",
        log_tail=stack.last_words(part),
        timed_out=timed_out,
    )


def _read_since(settings: StackSettings, part: str, since: float) -> bool:
    name = f"{_HELD[part]}_last_reload"
    try:
        families = families_of(_page(settings, part, "/metrics") or "", (name,))
    except (ValueError, OverflowError, LookupError, TypeError, AttributeError):
        return False  # a page of somebody else
    told = families.get(f"{name}_success_timestamp_seconds")
    return told is not None and any(sample.value >= since for sample in told.samples)


def _page(settings: StackSettings, part: str, path: str) -> str | None:
    """A page of a part; None where it does not answer with one."""
    response = _response(settings, part, path)
    return response.text if response is not None and response.status_code == 200 else None


def _response(settings: StackSettings, part: str, path: str) -> "httpx.Response | None":
    """What a part answers; None where it does not."""
    import httpx

    from deployctl import web

    try:
        with web.client(Endpoint(settings.url(part), None, None), _ASK_S, most=MAX_METRICS) as http:
            return http.get(path)
    except httpx.HTTPError:
        return None
