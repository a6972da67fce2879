"""Tells long work as it happens: a live line on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.text import Text

from deployctl.cli.console import err, story
from deployctl.units import duration

if TYPE_CHECKING:
    from rich.live import Live
    from rich.spinner import Spinner

    from deployctl.targets.driver import Event


class _Running:
    """The line of the phase at work, drawn anew at each refresh with the time it has taken."""

    def __init__(self, title: str, since: float) -> None:
        from rich.spinner import Spinner

        self._title = title
        self._since = since
        self._spinner: Spinner = Spinner("dots", style="cyan")

    def __rich__(self) -> "Spinner":
        passed = duration(time.monotonic() - self._since)
        self._spinner.update(text=Text.assemble(self._title, "  ", (passed, "dim")))
        return self._spinner


class Progress:
    """Call it with the events of a rollout; use it as a context manager."""

    def __init__(self) -> None:
        self._phase = ""
        self._since = self._begun = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finish("✗" if error else "✓")

    def __call__(self, event: "Event") -> None:
        """Tells one event."""
        if event.kind == "phase":
            self._finish("✓")
            self._begin(event.text)
        elif event.kind == "warning":
            story(f"warning: {event.text}", style="yellow", prefix=8)
        else:
            # What is noted ends a phase: the engine is being stopped, or another comes.
            self._finish("·")
            story(f"  {event.text}")

    def _begin(self, title: str) -> None:
        self._phase, self._since = title, time.monotonic()
        if err.is_terminal:
            from rich.live import Live

            self._live = Live(
                _Running(title, self._since), console=err, transient=True, refresh_per_second=8
            )
            self._live.start()
        else:
            story(f"  {title} (after {duration(self._since - self._begun)})")

    def _finish(self, mark: str) -> None:
        if not self._phase:
            return
        passed = duration(time.monotonic() - self._since)
        if self._live is not None:
            self._live.stop()
            self._live = None
            story(f"  {mark} {self._phase}  {passed}")
        elif mark == "✗":
            story(f"  {self._phase} failed after {passed}")
        self._phase = ""
