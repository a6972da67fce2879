"""How rollouts are shown, one or several: while they go on, and where the services serve then."""

import re
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from rich.text import Text

from deployctl.cli.console import (
    LINE_EVERY_S,
    LiveLine,
    err,
    print_rows,
    story,
    tell,
    there,
)
from deployctl.errors import DeployctlError, InterruptedByUserError
from deployctl.events import Event, Tell
from deployctl.units import duration

if TYPE_CHECKING:
    from deployctl.cli.loadprogress import LoadProgress
    from deployctl.operations.deploy.deployed import Deployed
    from deployctl.operations.deploy.fleet import Fleet, NotDeployed

DOCUMENT_VERSION = 1  # of every JSON document that the verbs of services write
_MOST = 24  # services that have a live line
_BEGINS = "planned"
_POD = re.compile(r"-[a-z0-9]{6,10}-[a-z0-9]{5}\b")  # what tells a Deployment's pods apart


class RolloutProgress:
    """Listens to the events of a rollout; use it as a context manager.

    `load` shows the load test that verifies a release.
    """

    def __init__(self, load: "LoadProgress | None" = None) -> None:
        self._load = load
        self._phase = self._so_far = ""
        self._working = False  # until the first phase
        self._since = self._begun = self._line_at = time.monotonic()
        self._live = LiveLine()

    def __enter__(self) -> "RolloutProgress":
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        if self._load is not None:
            self._load.end()
        begun = failed is InterruptedByUserError  # what was begun goes on: it is not waited for
        self._finish("·" if begun else "✗" if failed else "✓")

    def __call__(self, event: Event) -> None:
        """Tells one event."""
        if self._load is not None:
            if self._load.takes(event):
                self._finish("·")
                self._load(event)
                return
            self._load.end()
        if event.kind == "progress":
            self._go_on(event.text)
            return
        if event.kind == "phase":
            self._finish("✓")
            self._begin(event.text)
            return
        if event.kind != "warning":
            # What is noted ends a phase: the engine is being stopped, or another comes.
            self._finish("·")
        if event.kind == "heading" and not self._working:  # a later one is its verification's
            self._begun = time.monotonic()
        tell(event)

    def _begin(self, title: str) -> None:
        self._phase, self._since, self._so_far = title, time.monotonic(), ""
        self._working, self._line_at = True, self._since
        self._live.show(
            lambda passed: Text.assemble(
                title, "  ", (duration(passed), "dim"), "  ", (self._so_far, "dim")
            )
        )
        if not self._live.shown:
            story(f"  {title} (after {duration(self._since - self._begun)})")

    def _go_on(self, so_far: str) -> None:
        """How far the phase is: beside it in a terminal, a line now and then in a pipe."""
        self._so_far = so_far
        now = time.monotonic()
        if not self._live.shown and now - self._line_at >= LINE_EVERY_S:
            self._line_at = now
            story(f"    {so_far}")

    def _finish(self, mark: str) -> None:
        if not self._phase:
            return
        passed = duration(time.monotonic() - self._since)
        if self._live.shown:
            self._live.end()
            story(f"  {mark} {self._phase}  {passed}")
        elif mark == "✗":
            story(f"  {self._phase} failed after {passed}")
        self._phase = ""


def tell_gaps(deployed: "Deployed") -> None:
    """Says how long nobody answered, or how long requests waited for that."""
    name, held = deployed.release.service, deployed.held
    if held is not None and held.seconds:
        waits = held.waits
        text = f"{name}: requests waited {duration(held.seconds)} at most"
        if waits.waited:
            longest = duration(waits.longest_s)
            text += (
                f"; of {waits.requests} that have ended {waits.waited} waited, {longest} at most"
            )
        if waits.turned_away:
            text += f"; {waits.turned_away} waited in vain"
        story(text)
        return
    for gap in deployed.gaps_s:
        story(f"{name} did not answer for {duration(gap)}; behind a --gateway requests wait")


def show_deployed(deployed: "Deployed") -> None:
    """Says on stdout where a service serves, and what to do with it."""
    from deployctl.render.snippets import curl

    name, endpoint, key_file = deployed.release.service, deployed.endpoint, deployed.api_key_file
    rows = [("url", f"{endpoint.shown}/v1"), ("model", str(endpoint.model))]
    if deployed.ca_file:
        rows.append(("ca", f"{deployed.ca_file} verifies the gateway's certificate"))
    rows += [("chat", deployed.chat_url)] if deployed.chat_url else []
    rows += [("key", f"in {key_file}")] if key_file else []
    if deployed.operator_token_file:
        # The gateway passes on no /metrics; of several engines each has its own.
        at = endpoint.own if endpoint.gateway and not deployed.replicas else ""
        rows.append(("token", f"in {deployed.operator_token_file}, for {at}/metrics"))
    if endpoint.inside and not endpoint.tunnel:
        _, namespace, *_ = endpoint.inside.split(".")
        context = deployed.release.spec.context
        place = f"--namespace {namespace}" + (f" --context {context}" if context else "")
        rows += [
            (verb, f"deployctl {words} {name} {place}")
            for verb, words in (("log", "logs"), ("try", "smoke"), ("stop", "down"))
        ]
        rows.append(("clients", f"deployctl status {name} --connect {place}"))
        print_rows(rows)
        return
    for each in deployed.replicas:
        on = f" on card {', '.join(each.cards)}" if each.cards else ""
        rows.append((f"replica {each.replica}", f"{each.url}{on}"))
    if endpoint.tunnel:
        rows.insert(0, ("first", endpoint.tunnel))
    # A line that tries the service, without the key in it.
    body = {"model": endpoint.model, "prompt": "The capital of France is", "max_tokens": 16}
    url, trust = f"{endpoint.shown}/v1/completions", deployed.ca_file
    asked = " ".join(curl(url, body, key_file=key_file, ca_file=trust))
    rows += [
        ("log", str(deployed.log or f"deployctl logs {name}{there()}")),
        ("try", asked),
        ("stop", f"deployctl down {name}{there()}"),
        ("clients", f"deployctl status {name} --connect{there()}"),
    ]
    print_rows(rows)


class FleetProgress:
    """Several rollouts at once; use it as a context manager. In a terminal a live line each for
    those under way, in a pipe a summary now and then; what became of each is a line of its own. Its
    listeners may be called from several threads.
    """

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
        from deployctl.operations.deploy.fleet import NotDeployed

        with self._lock:
            if isinstance(became, NotDeployed):
                self._failed += 1
                self._under_way.pop(became.service, None)
                said = (became.error.message, became.error.where)
                show_failure(became, explained=said in self._explained)  # of twenty said once
                self._explained.add(said)
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


def show_failure(became: "NotDeployed", *, explained: bool = False) -> None:
    """Says that a service of several did not come up, and why, unless that is `explained`."""
    story(f"✗ {became.service}: {became.error.message}", style="red", prefix=1)
    if not explained:
        _explain(became.error)


def _explain(error: DeployctlError) -> None:
    for line in getattr(error, "log_tail", ()):
        story(f"     | {line}", style="dim")
    if error.where:
        story(f"   at: {error.where}")
    if error.hint:
        story(f" hint: {error.hint}", style="cyan", prefix=6)


def show_fleet(fleet: "Fleet") -> None:
    """Says on stdout where each service serves."""
    rows = [
        (d.release.service, str(d.release.revision), f"{d.endpoint.shown}/v1")
        for d in fleet.deployed
    ]
    print_rows([("SERVICE", "REVISION", "URL"), *rows])
