"""How a rollout is shown: while it goes on, and where the service serves then."""

import json
import shlex
import time
from typing import TYPE_CHECKING

from rich.text import Text

from deployctl.cli.console import LINE_EVERY_S, LiveLine, print_rows, story, tell
from deployctl.events import Event
from deployctl.units import duration

if TYPE_CHECKING:
    from deployctl.cli.loadprogress import LoadProgress
    from deployctl.operations.deploy.deployment import Deployed

DOCUMENT_VERSION = 1  # of every JSON document that the verbs of services write


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
        self._finish("✗" if failed else "✓")

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


def show_deployed(deployed: "Deployed") -> None:
    """Says on stdout where a service serves, and what to do with it."""
    name, endpoint, key_file = deployed.release.service, deployed.endpoint, deployed.api_key_file
    rows = [("url", f"{endpoint.inside or endpoint.url}/v1"), ("model", str(endpoint.model))]
    if key_file:
        rows.append(("key", f"in {key_file}"))
    if deployed.operator_token_file:
        rows.append(("token", f"in {deployed.operator_token_file}, for /metrics"))
    if endpoint.inside:
        _, namespace, *_ = endpoint.inside.split(".")
        rows += [
            (verb, f"deployctl {words} {name} --target kubernetes --namespace {namespace}")
            for verb, words in (("log", "logs"), ("try", "smoke"), ("stop", "down"))
        ]
        print_rows(rows)
        return
    # A line that tries the service, without the key in it.
    body = {"model": endpoint.model, "prompt": "The capital of France is", "max_tokens": 16}
    words = ["curl", f"{endpoint.url}/v1/completions", "-H", "Content-Type: application/json"]
    key = f' -H "Authorization: Bearer $(cat {shlex.quote(str(key_file))})"' if key_file else ""
    data = shlex.quote(json.dumps(body, ensure_ascii=False))
    rows += [
        ("log", str(deployed.log or f"deployctl logs {name}")),
        ("try", f"{shlex.join(words)}{key} -d {data}"),
        ("stop", f"deployctl down {name}"),
    ]
    print_rows(rows)
