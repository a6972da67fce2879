"""Fetches /metrics. The only part of this room that touches the network."""

import time

from deployctl.errors import TargetError
from deployctl.metrics.snapshot import Snapshot, parse


def scrape(url: str, api_key: str | None = None, *, timeout: float = 10.0) -> Snapshot:
    """Scrapes a service once. `url` is its base address; `timeout` is in seconds.

    Raises:
        TargetError: it does not answer, refuses, or is no vLLM.
    """
    import httpx

    where = f"{url.rstrip('/')}/metrics"
    # vLLM leaves /metrics open, but what stands before it may not.
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        # Environment proxies are for the world; a service's own address is asked directly.
        with httpx.Client(timeout=timeout, trust_env=False) as client:
            response = client.get(where, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TargetError(
            f"the service does not answer: {error or type(error).__name__}",
            where=where,
            hint="deployctl status says whether it runs",
        ) from error
    if response.status_code != 200:
        raise TargetError(
            f"/metrics answers with HTTP {response.status_code}",
            where=where,
            hint="is this the address of a vLLM server?",
        )
    try:
        return parse(response.text, time.monotonic())
    except TargetError as error:
        error.where = where
        raise
