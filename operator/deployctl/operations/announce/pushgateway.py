"""A Pushgateway, for figures of what has ended before anybody scrapes it."""

from collections.abc import Callable

import httpx
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import push_to_gateway

from deployctl import web
from deployctl.errors import TargetError
from deployctl_loadtest.foreign import MAX_REFUSAL, message

JOB = "deployctl_loadtest"
WITHIN_S = 5.0


def push(
    url: str,
    registry: CollectorRegistry,
    group: dict[str, str],
    transport: httpx.BaseTransport | None = None,
) -> None:
    """Puts the figures into the place of those that the same group had.

    Raises:
        TargetError: the Pushgateway does not answer, or refuses.
    """

    def handler(
        url: str, method: str, timeout: float | None, headers: list[tuple[str, str]], data: bytes
    ) -> Callable[[], None]:
        def send() -> None:
            with web.Client(most=MAX_REFUSAL, timeout=timeout, transport=transport) as client:
                answer = client.request(method, url, headers=headers, content=data)
            if answer.status_code >= 300:
                said = f"HTTP {answer.status_code}: {message(answer.text)}"
                raise TargetError(said.rstrip(": "), where=url)

        return send

    try:
        push_to_gateway(url, JOB, registry, grouping_key=group, timeout=WITHIN_S, handler=handler)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ImportError) as error:
        raise TargetError(web.problem(error, WITHIN_S), where=url) from error
