"""How the rollouts of several services are shown while they go on, all at once.

In a terminal a live line each for those that are under way; in a pipe a summary now and then. What
became of a service is a line of its own, when it is known.
"""

import re
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from rich.text import Text

from deployctl.cli.console import LINE_EVERY_S, LiveLine, err, print_rows, story, tell
from deployctl.errors import DeployctlError
from deployctl.events import Event, Tell
from deployctl.operations.deploy.fleet import Fleet, NotDeployed
from deployctl.units import duration

if TYPE_CHECKING:
    from deployctl.operations.deploy.deployment import Deployed

_MOST = 24  # services that have a live line
_BEGINS = "planned"
_POD = re.compile(r"-[a-z0-9]{6,10}-[a-z0-9]{5}\b")  # what tells a Deployment's pods apart


class FleetProgress:
    """Use it as a context manager. Its listeners may be called from several threads."""

    def __init__(self, services: list[str]) -> None:
        self._under_way = dict.fromkeys(services, _BEGINS)
        self._since = dict.fromkeys(services, time.monotonic())
        self._served = self._failed = 0
        self._warned: set[str] = set()
        self._explained: set[tuple[str, str | None]] = set()
        self._begun = self._line_at = time.monotonic()
        self._lock = threading.RLock()  # a signal may come while it is held
        self._live = LiveLine()

    def __enter__(self) -> "FleetProgress":
        self._live.show(lambda _: self._drawn())
        return self

    def __exit__(self, *_: object) -> None:
        self._live.end()

    def of(self, service: str) -> Tell:
        """The listener of one service; of "", of all."""
        return lambda event: self._hear(service, event)

    def done(self, became: "Deployed | NotDeployed") -> None:
        """Says what became of a service."""
        with self._lock:
            if isinstance(became, NotDeployed):
                self._failed += 1
                self._under_way.pop(became.service, None)
                error = became.error
                story(f"✗ {became.service}: {error.message}", style="red", prefix=1)
                if (error.message, error.where) not in self._explained:  # of twenty said once
                    self._explained.add((error.message, error.where))
                    _explain(error)
                return
            self._served += 1
            release = became.release
            self._under_way.pop(release.service, None)
            how = f"in {became.took}" if became.changed else "unchanged"
            story(f"✓ {release.service} serves: revision {release.revision}, {how}")

    def _hear(self, service: str, event: Event) -> None:
        with self._lock:
            if event.kind == "warning" and event.text not in self._warned:
                self._warned.add(event.text)  # of twenty services it is said once
                tell(Event("warning", f"{service}: {event.text}" if service else event.text))
            if event.kind in ("phase", "note") and service in self._under_way:
                self._under_way[service] = event.text
                self._since[service] = time.monotonic()
            self._summarize()

    def _summarize(self) -> None:
        now = time.monotonic()
        if self._live.shown or now - self._line_at < LINE_EVERY_S:
            return
        self._line_at = now
        waits = Counter(_common(text, service) for service, text in self._under_way.items())
        told = ", ".join(f"{count} × {text}" for text, count in waits.most_common())
        story(f"  {self._counts()}: {told}")

    def _counts(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        passed = duration(time.monotonic() - self._begun)
        return f"{self._served} serve{failed}, {len(self._under_way)} under way after {passed}"

    def _drawn(self) -> Text:
        lines = Text(self._counts())
        now = time.monotonic()
        under_way = list(self._under_way.items())
        width = max((len(service) for service, _ in under_way), default=0)
        room = max(20, err.width - width - 16)
        for service, text in under_way[:_MOST]:
            short = text if len(text) <= room else text[: room - 1] + "…"
            lines.append(f"\n    {service:{width}}  {short}  ")
            lines.append(duration(now - self._since[service]), style="dim")
        if len(under_way) > _MOST:
            lines.append(f"\n    and {len(under_way) - _MOST} more", style="dim")
        return lines


def _common(text: str, service: str) -> str:
    """What services have in common that wait for the same."""
    return _POD.sub("", text).replace(service, "NAME").removeprefix("NAME: ")[:80]


def _explain(error: DeployctlError) -> None:
    for line in getattr(error, "log_tail", ()):
        story(f"     | {line}", style="dim")
    if error.where:
        story(f"   at: {error.where}")
    if error.hint:
        story(f" hint: {error.hint}", style="cyan", prefix=6)


def show_fleet(fleet: Fleet) -> None:
    """Says on stdout where each service serves."""
    rows = [
        (d.release.service, str(d.release.revision), f"{d.endpoint.inside or d.endpoint.url}/v1")
        for d in fleet.deployed
    ]
    print_rows([("SERVICE", "REVISION", "URL"), *rows])
