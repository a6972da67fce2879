"""How long work tells what it does: one event at a time, to whoever listens.

A listener is a function of one event: the command line shows it, a controller logs it, a test
keeps it. One that knows nothing of `detail` can still say `text`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Event:
    """What happened, while work goes on."""

    # A heading says what the next events are about. A phase lasts until the next event; progress
    # comes often, and only its newest counts.
    kind: Literal["heading", "phase", "note", "warning", "progress"]
    text: str  # one line for a person, without a mark or an indent
    detail: object = None  # what the line was made from, for a listener that shows more of it


Tell = Callable[[Event], None]


def silent(_: Event) -> None:
    """Listens to nothing."""
