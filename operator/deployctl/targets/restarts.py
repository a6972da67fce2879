"""How often a watchdog has started an engine again, when and why, by the events that it wrote.

What writes them is deploy/door/engine_watchdog.py. Damaged ones are passed over.
"""

import json
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from deployctl.files import state_error
from deployctl_loadtest import foreign

EVENTS_FILE = "events.jsonl"
_MOST_BYTES = 64 * 1024  # of the file's end


class Restarts(NamedTuple):
    """What has become of an engine since it was brought up."""

    number: int = 0
    last: str | None = None  # ISO 8601, UTC
    why: str = ""  # it was started again the last time, or is not any more
    gave_up: bool = False
    memory: str = ""  # that the engine holds, where it is more than its share

    @property
    def detail(self) -> str:
        """In words: `started again twice …`; empty where nothing was."""
        if self.gave_up:
            return self.why
        times = "once" if self.number == 1 else f"{self.number} times"
        again = f"started again {times}, last at {self.last}: {self.why}" if self.number else ""
        held = f"it holds {self.memory}" if self.memory else ""
        return "; ".join(filter(None, [again, held]))


NONE = Restarts()


def read(lines: Iterable[str]) -> Restarts:
    """What events, oldest first, come to."""
    found = NONE
    for event in filter(None, map(_event, lines)):
        count, why = event["restarts"], foreign.message(event["why"])
        if event["event"] == "memory":
            found = found._replace(number=count, memory=why)
        else:
            found = Restarts(count, event["at"], why, gave_up=event["event"] == "gave-up")
    return found


def of_file(path: Path) -> Restarts:
    """The same of a file's lines; nothing where there is none.

    Raises:
        StateError: it is there and cannot be read.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _MOST_BYTES))
            text = stream.read(_MOST_BYTES)
    except FileNotFoundError:
        return NONE
    except OSError as error:
        raise state_error("read", path, error) from error
    return read(text.decode("utf-8", "replace").splitlines())


def _event(line: str) -> dict[str, Any] | None:
    try:
        event: dict[str, Any] = json.loads(line)
        moment = datetime.fromisoformat(event["at"])
        texts = isinstance(event["why"], str) and event["event"] in ("restart", "gave-up", "memory")
        good = type(event["restarts"]) is int and event["restarts"] >= 0 and texts
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return event if good and moment.tzinfo is not None else None
