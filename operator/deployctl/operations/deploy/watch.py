"""Watches a live release's /metrics for a while, and judges what its users had."""

import time
from collections.abc import Callable

from deployctl import metrics
from deployctl.endpoint import Endpoint
from deployctl.errors import TargetError
from deployctl.events import Event, Tell, silent
from deployctl.load.slo import Slo
from deployctl.metrics import Snapshot
from deployctl.operations.deploy import judgement as judge
from deployctl.operations.deploy.judgement import Judgement
from deployctl.targets import Driver, readiness
from deployctl.targets.history import Release
from deployctl.units import duration

SCRAPES = 30  # in the whole time
LEAST_S, MOST_S = 1.0, 15.0  # between two of them
SILENCES = 3  # scrapes in a row without an answer: it hangs, or is gone


def watch(
    driver: Driver,
    release: Release,
    endpoint: Endpoint,
    slo: Slo,
    seconds: float,
    *,
    tell: Tell = silent,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Judgement:
    """Scrapes again and again, and ends early where the SLO is missed beyond doubt.

    Raises:
        EngineError: the engine died.
        TargetError: /metrics does not answer, or is no vLLM's.
    """
    tell(
        Event("heading", f"watching {endpoint.url}/metrics for {duration(seconds)}, for {slo.text}")
    )
    first = _scrape(endpoint)
    end = clock() + seconds
    seen: list[Judgement] = []
    unanswered = 0
    while (left := end - clock()) > 0:
        sleep(min(left, max(LEAST_S, min(MOST_S, seconds / SCRAPES))))
        if driver.state(release).condition != "running":
            raise readiness.failed(driver, release, "the engine died while it was watched")
        try:
            now = _scrape(endpoint)
        except TargetError:
            unanswered += 1
            if unanswered >= SILENCES:
                raise
            continue
        unanswered = 0
        seen.append(judge.of_watch(slo, first, now))
        tell(Event("note", f"{duration(max(0.0, end - clock()))} left: {seen[-1].text}"))
        if judge.certainly_missed(seen):
            tell(Event("note", "missed beyond doubt: no need to watch on"))
            break
    if not seen:
        raise TargetError("/metrics did not answer in that time", where=endpoint.url)
    return seen[-1]


def _scrape(endpoint: Endpoint) -> Snapshot:
    return metrics.scrape(endpoint.url, endpoint.api_key)
