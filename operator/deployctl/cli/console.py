"""Where words go: the answer to stdout, the story to stderr, a live line below it.

Much of what is shown was written by others: servers, models, engines' logs, checkpoints. Whatever
prints it, it is made printable here: by `Terminal`, through which everything goes that rich draws,
and by `say`, which writes a line as it stands.
"""

import errno
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from deployctl.endpoint import without_credentials
from deployctl.events import Event
from deployctl_loadtest.foreign import printable, uncommanding

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


def repository_option(text: str) -> Any:
    """`--repository`, of verbs that work on GitHub."""
    return typer.Option(
        metavar="OWNER/NAME", envvar="GITHUB_REPOSITORY", help=text, show_default=False
    )


class Terminal(Console):
    """A console on which nothing but its own drawing moves the cursor or changes a colour, words in
    brackets are words, and what is said commands no runner of a job (unless `commands`)."""

    def __init__(self, *, commands: bool = False, **more: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **more)
        self._shown = printable if commands else shown

    def on_broken_pipe(self) -> None:
        """What is done goes on when nobody reads of it any more; see `flush`."""
        self.quiet = True

    def print(self, *objects: Any, **more: Any) -> None:
        """As rich's. What cannot be told (a log's disk is full) stops nothing that is done."""
        try:
            super().print(*objects, **more)
        except OSError:
            if not self.stderr:
                raise

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """As rich's, made printable."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(self._shown(segment.text), segment.style)


def shown(text: str) -> str:
    """A text that others may have written, as a terminal or the log of a job may be given it."""
    return uncommanding(text) if os.environ.get("GITHUB_ACTIONS") else printable(text)


err = Terminal(stderr=True, soft_wrap=True)
out = Terminal(soft_wrap=not sys.stdout.isatty())
_runner = Terminal(commands=True, stderr=True, soft_wrap=True)  # of a job


def annotate(line: str) -> None:
    """Says a line on stderr that is a command to the runner of a job."""
    _runner.print(Text(without_credentials(line)))


def story(text: str, *, style: str = "", prefix: int | None = None) -> None:
    """Says what goes on, on stderr. `style` colours the first `prefix` characters, or all."""
    text = without_credentials(text)
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


def say(line: str) -> None:
    """Writes a line to stdout as it stands, but for what no terminal or job should be given."""
    _write(shown(line))


def _write(line: str) -> None:
    """Writes to stdout, as long as anybody reads it."""
    try:
        sys.stdout.write(line + "\n")
    except BrokenPipeError:
        out.on_broken_pipe()


def flush() -> None:
    """Shows what an endless answer has come to.

    Raises:
        BrokenPipeError: nobody reads it any more.
    """
    sys.stdout.flush()
    if out.quiet:
        raise BrokenPipeError(errno.EPIPE, "nobody reads standard output")


def print_rows(rows: Sequence[Sequence[str]]) -> None:
    """Writes columns to stdout; the last is never broken or cut, so that it can be copied."""
    if not rows:
        return
    rows = [[printable(" ".join(cell.splitlines())) for cell in row] for row in rows]
    last = len(rows[0]) - 1
    widths = [max(len(row[column]) for row in rows) for column in range(last)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        _write(shown("  ".join([*cells, row[last]]).rstrip()))


said_place: list[str] = []  # the options by which this command says where a service is


def there() -> str:
    """What a command that is to be pasted says of where the service is, as this one does."""
    return "".join(f" {shlex.quote(word)}" for word in said_place)


answers: list[Any] = []  # the JSON document that was written last


def answer_json(value: Any) -> None:
    """Writes one JSON document to stdout. Pydantic models are dumped first.

    A number that is none (NaN, infinite), which JSON has no word for, is null.
    """
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    answers[:] = [value]
    # Of a job's log `##[` is a command wherever it stands; a number of a character is none.
    _write(as_json(value, indent=2).replace("##[", r"#\u0023["))


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON text, in ASCII."""
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value


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
        said = self._text(time.monotonic() - self._since)
        # A string would be read as markup, whatever the console thinks of it.
        self._spinner.update(text=Text(said) if isinstance(said, str) else said)
        return self._spinner
