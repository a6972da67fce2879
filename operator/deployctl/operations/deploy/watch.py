"""Watches a live release's /metrics for a while, and judges what its users had."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from deployctl.cli.console import story
from deployctl.errors import TargetError
from deployctl.units import duration

if TYPE_CHECKING:
    from deployctl.endpoint import Endpoint
    from deployctl.load.slo import Slo
    from deployctl.metrics import Snapshot
    from deployctl.targets import Driver
    from deployctl.targets.history import Release
    from deployctl.tuning.verify import Judgement

LOOKS = 30  # in the whole time
LEAST_S, MOST_S = 1.0, 15.0  # between two of them
SILENCES = 3  # scrapes in a row without an answer: it hangs, or is gone


def watch(
    driver: "Driver",
    release: "Release",
    endpoint: "Endpoint",
    slo: "Slo",
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> "Judgement":
    """Looks again and again, and ends early where the SLO is missed beyond doubt.

    Raises:
        EngineError: the engine died.
        TargetError: /metrics does not answer, or is no vLLM's.
    """
    from deployctl.targets import readiness
    from deployctl.tuning import verify

    story(f"watching {endpoint.url}/metrics for {duration(seconds)}, for {slo.text}")
    first = _scrape(endpoint)
    end = clock() + seconds
    looks: list[Judgement] = []
    silent = 0
    while (left := end - clock()) > 0:
        sleep(min(left, max(LEAST_S, min(MOST_S, seconds / LOOKS))))
        if driver.state(release).condition != "running":
            raise readiness.failed(driver, release, "the engine died while it was watched")
        try:
            now = _scrape(endpoint)
        except TargetError:
            silent += 1
            if silent >= SILENCES:
                raise
            continue
        silent = 0
        looks.append(verify.of_watch(slo, first, now))
        story(f"  {duration(max(0.0, end - clock()))} left: {looks[-1].text}")
        if verify.certainly_missed(looks):
            story("  missed beyond doubt: no need to watch on")
            break
    if not looks:
        raise TargetError("/metrics did not answer in that time", where=endpoint.url)
    return looks[-1]


def _scrape(endpoint: "Endpoint") -> "Snapshot":
    from deployctl import metrics

    return metrics.scrape(endpoint.url, endpoint.api_key)
