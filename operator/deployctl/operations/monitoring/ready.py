"""Waits until the parts of monitoring answer, and have read what they were given."""

import time
from collections.abc import Callable, Sequence

from deployctl.endpoint import Endpoint
from deployctl.errors import EngineError
from deployctl.metrics.snapshot import families_of
from deployctl.render.monitoring.stack import StackSettings, parts
from deployctl.targets.docker.monitoring import MonitoringProject
from deployctl.units import duration
from deployctl_loadtest.foreign import MAX_METRICS

_START_S = 90.0  # Grafana makes its database at the first start
_RELOAD_S = 15.0
_ASK_S = 5.0
_POLL_S = 0.25
_HELD = {"prometheus": "prometheus_config", "alertmanager": "alertmanager_config"}


def wait_ready(stack: MonitoringProject, settings: StackSettings) -> None:
    """Returns when every part says that it is ready.

    Raises:
        EngineError: one does not within a minute and a half; it has its last words.
    """

    def answers(part: str) -> bool:
        return _page(settings, part, str(parts()[part]["ready"])) is not None

    said = f"does not answer after {duration(_START_S)}"
    _wait(stack, settings, settings.parts, answers, _START_S, said, timed_out=True)


def reloaded(
    stack: MonitoringProject, settings: StackSettings, asked: Sequence[str], *, since: float
) -> None:
    """Returns when each part has read its files again. `since`: a UNIX time before it was told to.

    Raises:
        EngineError: it could not, and goes on with the former.
    """
    said = "did not take its new configuration, and goes on with the former"
    _wait(stack, settings, asked, lambda part: _read_since(settings, part, since), _RELOAD_S, said)


def _wait(
    stack: MonitoringProject,
    settings: StackSettings,
    whom: Sequence[str],
    done: Callable[[str], bool],
    patience_s: float,
    said: str,
    *,
    timed_out: bool = False,
) -> None:
    deadline = time.monotonic() + patience_s
    for part in whom:
        while not done(part):
            if time.monotonic() >= deadline:
                raise EngineError(
                    f"{part} {said}",
                    where=settings.url(part),
                    hint=f"its whole log: docker logs deployctl_monitoring-{part}-1",
                    log_tail=stack.last_words(part),
                    timed_out=timed_out,
                )
            time.sleep(_POLL_S)


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
    import httpx

    from deployctl import web

    try:
        with web.client(Endpoint(settings.url(part), None, None), _ASK_S, most=MAX_METRICS) as http:
            response = http.get(path)
    except httpx.HTTPError:
        return None
    return response.text if response.status_code == 200 else None
