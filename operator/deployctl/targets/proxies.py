"""What the gateway asks of its proxy; and what it takes to start and to tell a Caddy, whichever
target runs it."""

import json
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

from deployctl.endpoint import Endpoint
from deployctl.errors import TargetError
from deployctl.render.gateway import GatewayEntry

START_S = 30.0  # to answer; a loaded machine takes seconds
RELOAD_S = 60.0  # one that hangs is ended, and started again, before
_POLL_S = 0.1
# In what is said of one that was killed, and is being started again.
_AWAY = ("dial unix", "connection reset", "EOF")


class GatewayProxy(Protocol):
    """The program behind it, as a target runs it. Methods raise TargetError subclasses."""

    contained: bool  # in a network of its own: what it listens on is its host's to publish

    def check(self) -> None:
        """Refuses where it cannot run: there is none, or an old one."""

    def check_port(self, wanted: GatewayEntry) -> None:
        """Refuses a port that another program has; one that is the proxy's own is fine."""

    def ready_for(self, wanted: GatewayEntry) -> bool:
        """Whether deployctl can reach an engine behind it as it is, and it can listen for that one
        without being started anew."""

    def runs(self) -> bool:
        """Whether it runs."""

    def free_port(self, usual: int | None, but: Collection[int]) -> int:
        """A port for its monitor that nobody of its host has, nor one of `but`: the `usual` one,
        where it is free."""

    def answers(self, monitor_port: int) -> bool:
        """Whether it does, within seconds."""

    def apply(self, entries: Sequence[GatewayEntry], monitor_port: int) -> None:
        """Starts it with CONFIGURATION, or has it load NEXT; `entries` are what is in either."""

    def end(self) -> None:
        """Ends it, once its requests under way have ended; ending none is fine."""


class Where(NamedTuple):
    """Where a person looks, each a path or what stands for one."""

    configuration: str
    log: str


def healthy(monitor: Endpoint, within_s: float = 2.0) -> bool:
    """Whether the proxy answers on its monitor."""
    import httpx

    from deployctl import web

    try:
        with web.client(monitor, within_s) as client:
            return bool(client.get("/health").status_code == 200)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def started(
    answers: Callable[[], bool],
    fell: Callable[[], bool],
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> bool:
    """Waits for one that was started to answer; whether it did in time, and before it `fell`."""
    deadline = clock() + START_S
    while not answers():
        if fell() or clock() > deadline:
            return False
        sleep(_POLL_S)
    return True


def reload(
    refusal: Callable[[], str | None],
    where: Where,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    """Has it load its next configuration. `refusal` tells it to, and says why it does not.

    Raises:
        TargetError: it does not run, or takes no such configuration.
    """
    deadline = clock() + RELOAD_S
    while (said := refusal()) is not None:
        if not any(each in said for each in _AWAY):
            raise TargetError(
                f"the gateway takes no such configuration: {said}",
                where=where.configuration,
                hint="it goes on with the former",
            )
        if clock() > deadline:
            raise TargetError(
                "the gateway cannot be told its new configuration: it does not run",
                where=where.log,
                hint="the last lines there say why; it is started again and again",
            )
        sleep(_POLL_S)


def complaint(lines: list[str]) -> str:
    """The last thing that Caddy called an error, without its bookkeeping."""
    for line in reversed(lines):
        try:
            document = json.loads(line)
        except ValueError:
            if line.startswith("Error: "):
                return line.removeprefix("Error: ").rstrip()
            continue
        if isinstance(document, dict) and document.get("level") in ("error", "fatal"):
            return str(document.get("error") or document.get("msg"))
    return lines[-1] if lines else "it said nothing"
