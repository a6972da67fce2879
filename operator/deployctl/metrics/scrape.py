"""Fetches /metrics. The only part of this room that touches the network."""

import time
from typing import NamedTuple

from deployctl.endpoint import Endpoint
from deployctl.errors import TargetError
from deployctl.metrics import doors
from deployctl.metrics.doors import DoorCounts
from deployctl.metrics.snapshot import Snapshot, parse
from deployctl.spec.settings import Settings
from deployctl_loadtest.foreign import MAX_METRICS


class Scrape(NamedTuple):
    """A scrape of an engine and of the door before it."""

    engine: Snapshot
    door: DoorCounts | None  # None where there is no door


def scrape(endpoint: Endpoint, *, timeout_s: float = 10.0) -> Snapshot:
    """Scrapes a service once.

    Raises:
        TargetError: it does not answer, refuses, or is no vLLM.
    """
    return _scraped(endpoint, timeout_s)[1]


def read(endpoint: Endpoint, *, timeout_s: float = 10.0) -> Scrape:
    """Scrapes an engine and its door at once.

    Raises:
        TargetError: as `scrape`.
    """
    text, snapshot = _scraped(endpoint, timeout_s)
    try:
        return Scrape(snapshot, doors.parse(text))
    except TargetError as error:
        error.where = _where(endpoint)
        raise


def _where(endpoint: Endpoint) -> str:
    return f"{endpoint.url.rstrip('/')}/metrics"


def _scraped(endpoint: Endpoint, timeout_s: float) -> tuple[str, Snapshot]:
    import httpx

    from deployctl import web

    where = _where(endpoint)
    try:
        with web.client(endpoint, timeout_s, most=MAX_METRICS) as client:
            response = client.get("/metrics")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TargetError(
            f"the service does not answer: {web.problem(error, timeout_s)}",
            where=where,
            hint="deployctl status says whether it runs",
        ) from error
    if response.status_code in (401, 403):
        said = "refuses the credential" if endpoint.credential else "wants the operator's token"
        raise TargetError(
            f"/metrics {said} (HTTP {response.status_code})", where=where, hint=_token(endpoint)
        )
    if response.status_code != 200:
        raise TargetError(
            f"/metrics answers with HTTP {response.status_code}",
            where=where,
            hint="is this the address of a vLLM server?",
        )
    text = response.content.decode("utf-8", "replace")
    try:
        return text, parse(text, time.monotonic())
    except TargetError as error:
        error.where = where
        raise


def _token(endpoint: Endpoint) -> str:
    """Where the operator's token is, for who has none or a wrong one."""
    if endpoint.operator_token and endpoint.service:
        return f"deployctl up brings {endpoint.service} the token that is kept for it here"
    return (
        "give --operator-token-file, or set DEPLOYCTL_OPERATOR_TOKEN; deployctl keeps the token "
        f"of a service in {Settings().state_dir}/TARGET/SERVICE/operator_token"
    )
