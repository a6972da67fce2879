"""Fetches /metrics. The only part of this room that touches the network."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from deployctl.errors import TargetError
from deployctl.metrics.snapshot import Snapshot, parse

if TYPE_CHECKING:
    import ssl


def scrape(
    url: str,
    api_key: str | None = None,
    *,
    timeout: float = 10.0,
    headers: Mapping[str, str] | None = None,
    verify: "ssl.SSLContext | bool" = True,
) -> Snapshot:
    """Scrapes a service once.

    `url` is its base address, `timeout` in seconds, `headers` what its proxy wants, `verify`
    the certificates to trust.

    Raises:
        TargetError: it does not answer, refuses, or is no vLLM.
    """
    import httpx

    where = f"{url.rstrip('/')}/metrics"
    # vLLM leaves /metrics open, but what stands before it may not.
    sent = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        # Environment proxies are for the world; a service's own address is asked directly.
        with httpx.Client(timeout=timeout, trust_env=False, verify=verify) as client:
            response = client.get(where, headers={**sent, **(headers or {})})
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
