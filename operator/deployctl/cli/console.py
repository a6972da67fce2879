"""Where words go: the answer to stdout, the story to stderr, a live line below it."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from deployctl.events import Event

if TYPE_CHECKING:
    from rich.live import Live
    from rich.spinner import Spinner


class Output(StrEnum):
    """How the answer is written."""

    text = "text"
    json = "json"


OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="text, or json in a documented format.")
]

err = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def story(text: str, *, style: str = "", prefix: int | None = None) -> None:
    """Says what goes on, on stderr. `style` colours the first `prefix` characters, or all."""
    line = Text(text)
    if style:
        line.stylize(style, 0, len(text) if prefix is None else prefix)
    err.print(line)


def tell(event: Event) -> None:
    """Listens to work that is done at once: says each event on stderr."""
    if event.kind == "warning":
        story(f"warning: {event.text}", style="yellow", prefix=8)
    else:
        story(event.text if event.kind == "heading" else f"  {event.text}")


def print_rows(rows: Sequence[Sequence[str]]) -> None:
    """Writes columns to stdout; the last is never broken or cut, so that it can be copied."""
    if not rows:
        return
    last = len(rows[0]) - 1
    widths = [max(len(row[column]) for row in rows) for column in range(last)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        sys.stdout.write("  ".join([*cells, row[last]]).rstrip() + "\n")


def answer_json(value: Any) -> None:
    """Writes one JSON document to stdout. Pydantic models are dumped first."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


LINE_EVERY_S = 10.0  # of progress, in a pipe


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

            self._live = Live(_Drawn(text), console=err, transient=True, refresh_per_second=8)
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
