"""Tells long work as it happens: a live line on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.text import Text

from deployctl.cli.console import err, story, tell
from deployctl.events import Event
from deployctl.units import duration

if TYPE_CHECKING:
    from rich.live import Live
    from rich.spinner import Spinner

    from deployctl.cli.loadprogress import LoadProgress

_A_SECOND = 8


class LiveLine:
    """One at a time, and none where stderr is no terminal."""

    def __init__(self) -> None:
        self._live: Live | None = None

    @property
    def shown(self) -> bool:
        """Whether it is there."""
        return self._live is not None

    def show(self, text: Callable[[float], Any]) -> None:
        """Shows it in place of another. `text`: what it says after so many seconds."""
        self.end()
        if err.is_terminal:
            from rich.live import Live

            self._live = Live(
                _Drawn(text), console=err, transient=True, refresh_per_second=_A_SECOND
            )
            self._live.start()

    def end(self) -> None:
        """Takes it away."""
        if self._live is not None:
            self._live.stop()
            self._live = None


class _Drawn:
    def __init__(self, text: Callable[[float], Any]) -> None:
        from rich.spinner import Spinner

        self._text, self._since = text, time.monotonic()
        self._spinner: Spinner = Spinner("dots", style="cyan")

    def __rich__(self) -> "Spinner":
        self._spinner.update(text=self._text(time.monotonic() - self._since))
        return self._spinner


class RolloutProgress:
    """Listens to the events of a rollout; use it as a context manager.

    `load` shows the load test that verifies a release.
    """

    def __init__(self, load: "LoadProgress | None" = None) -> None:
        self._load = load
        self._phase = ""
        self._since = self._begun = time.monotonic()
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
        if event.kind == "phase":
            self._finish("✓")
            self._begin(event.text)
            return
        if event.kind != "warning":
            # What is noted ends a phase: the engine is being stopped, or another comes.
            self._finish("·")
        if event.kind == "heading":
            self._begun = time.monotonic()
        tell(event)

    def _begin(self, title: str) -> None:
        self._phase, self._since = title, time.monotonic()
        self._live.show(lambda passed: Text.assemble(title, "  ", (duration(passed), "dim")))
        if not self._live.shown:
            story(f"  {title} (after {duration(self._since - self._begun)})")

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
