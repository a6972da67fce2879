"""How far a study is: a live line on a terminal, and a line a step there and elsewhere."""

from typing import Self

from deployctl.cli.console import tell
from deployctl.cli.progress import LiveLine
from deployctl.events import Event
from deployctl.operations.tune.progress import Doing
from deployctl.units import duration


class TuneProgress:
    """Shows the events of a study, between `with` and its end."""

    def __init__(self) -> None:
        self._live = LiveLine()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._live.end()

    def __call__(self, event: Event) -> None:
        """Shows one event."""
        self._live.end()
        doing = event.detail
        if isinstance(doing, Doing):
            self._live.show(lambda passed: f"{doing.what}, {duration(passed)} · {doing.so_far}")
        else:
            tell(event)
