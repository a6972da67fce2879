"""What requests waited in the gateway, by the lines that Caddy writes of those that have ended."""

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

from deployctl.render.gateway import TRY_S


class Waits(NamedTuple):
    """What the requests of a service that have ended since some moment waited for an engine."""

    requests: int  # all of them
    waited: int  # those that an engine did not take at once
    longest_s: float
    turned_away: int  # with 503, having waited in vain


def waits_of(service: str, since: float, *logs: str) -> Waits:
    """Of a service, after `since`, in seconds since the epoch; of several logs, in any order."""
    requests = waited = turned_away = 0
    longest = 0.0
    for line in chain.from_iterable(map(_documents, logs)):
        if line.get("service") != service or not _number(line.get("ts")) >= since:
            continue
        requests += 1
        turned_away += line.get("status") == 503
        seconds = (_number(line.get("total_ms")) - _number(line.get("engine_ms"))) / 1000
        if seconds >= TRY_S:
            waited += 1
            longest = max(longest, seconds)
    return Waits(requests, waited, longest, turned_away)


def _documents(log: str) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            yield document


def _number(value: object) -> float:
    """Of what Caddy wrote, as text where it was a placeholder."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return 0.0
