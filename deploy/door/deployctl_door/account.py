"""What came through the door: counters by key for /metrics, and a line a request if asked for.

Never a prompt, never an answer, never a key.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from deployctl_door import zeros
from deployctl_door.keys import Key, KeyRing
from deployctl_door.underway import UnderWay

UNDER_WAY = "deployctl_door_requests_under_way"  # what a drain waits for
# What alive.py looks at where the engine says that it has nothing to do.
UNANSWERED = "deployctl_door_requests_unanswered"
OLDEST = "deployctl_door_oldest_unanswered_timestamp_seconds"
KEYS_STALE, EXPIRES = "deployctl_door_keys_stale", "deployctl_door_key_expires_timestamp_seconds"
# How often its watchdog started the engine again, as engine_parent.py tells it.
RESTARTS, RESTARTED = "DEPLOYCTL_ENGINE_RESTARTS", "deployctl_engine_restarts_total"
LONGEST_MODEL = 256  # characters of a name in the log
_NO_KEYS = KeyRing((), None)
_HELP = {
    "requests": ("counter", "Requests by key, route and HTTP status."),
    "tokens": (
        "counter",
        "Tokens by key and direction (input, output), as the engine counted them.",
    ),
    "refusals": ("counter", "Requests that did not reach the engine, by key and reason."),
}


class Account:
    """Counts, and writes the request log."""

    def __init__(
        self,
        *,
        log: bool,
        write: Callable[[str], None] | None = None,
        under_way: UnderWay | None = None,
    ) -> None:
        self._log = log
        self._write = write or _to_stderr
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._input: Counter[str] = Counter()  # tokens by key
        self._output: Counter[str] = Counter()
        self._refusals: Counter[tuple[str, str]] = Counter()
        # Requests of users, from when they come in to the end of the answer.
        self.under_way = under_way or UnderWay()
        self._passed_on: dict[Entry, float] = {}  # those that the engine has

    def refused(self, key: str, reason: str) -> None:
        """A request that did not reach the engine."""
        self._refusals[key, reason] += 1

    def passed_on(self, entry: "Entry") -> None:
        """A request that the engine gets now."""
        self._passed_on[entry] = time.time()

    def ended(self, entry: "Entry") -> None:
        """A request that was answered, by the engine or by the door."""
        self._passed_on.pop(entry, None)
        self._requests[entry.key, entry.route, entry.status] += 1
        if entry.input or entry.output:
            self._input[entry.key] += entry.input
            self._output[entry.key] += entry.output
        if self._log:
            self._write(json.dumps(entry.document(), separators=(",", ":")))

    def complain(self, text: str) -> None:
        """Says in the engine's log what is wrong with the door."""
        self._write(json.dumps({"door": "warning", "message": text}))

    def metrics(
        self, ring: KeyRing = _NO_KEYS, routes: tuple[str, ...] = (), *, stale: bool = False
    ) -> bytes:
        """The counters in Prometheus' text format, to stand behind the engine's own; of keys, when
        they expire, and whether their files could not be read as they are now. `routes` are those
        of users, of which nothing may have been counted yet."""
        # Once an answer has begun, whoever is slow may be the client that reads it.
        waiting = [at for entry, at in self._passed_on.items() if entry.first_byte_s is None]
        lines = []
        for name, text, gauge in (
            (
                UNDER_WAY,
                "Requests of users that have come in and not ended yet.",
                self.under_way.total(),
            ),
            (
                UNANSWERED,
                "Of these, requests that the engine has and has not begun to answer.",
                len(waiting),
            ),
            (
                OLDEST,
                "When the engine got the first of the unanswered ones; 0 where there is none.",
                round(min(waiting, default=0), 6),
            ),
            (
                KEYS_STALE,
                "1 while the files of keys cannot be read, and those read before are valid.",
                int(stale),
            ),
        ):
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name} {gauge}"]
        lines += [f"# HELP {EXPIRES} When a key stops to be valid.", f"# TYPE {EXPIRES} gauge"]
        for one in ring.keys:
            if one.expires is not None:
                lines.append(f'{EXPIRES}{{key="{one.name}"}} {one.expires}')
        restarts = os.environ.get(RESTARTS, "")
        if restarts.isdecimal():
            text = "How often the engine's watchdog has started it again."
            lines += [f"# HELP {RESTARTED} {text}", f"# TYPE {RESTARTED} counter"]
            lines.append(f"{RESTARTED} {restarts}")
        tokens = {(key, "input"): number for key, number in self._input.items()}
        tokens |= {(key, "output"): number for key, number in self._output.items()}
        counted: dict[str, zeros.Values] = {
            "requests": self._requests,
            "tokens": tokens,
            "refusals": self._refusals,
        }
        for name, values in counted.items():
            kind, text = _HELP[name]
            lines += [f"# HELP deployctl_door_{name}_total {text}"]
            lines += [f"# TYPE deployctl_door_{name}_total {kind}"]
            lines += zeros.told(name, values, ring, routes)
        return ("\n".join(lines) + "\n").encode()


class Entry:
    """One request, from its first byte to its last."""

    __slots__ = (
        "_begun",
        "_time",
        "admitted",
        "first_byte_s",
        "input",
        "key",
        "method",
        "model",
        "output",
        "request_id",
        "route",
        "status",
        "streams",
    )

    def __init__(self, request_id: str, method: str, route: str) -> None:
        self.request_id = request_id
        self.method = method
        self.route = route
        self.key = "-"
        self.admitted: Key | None = None  # whose limits it counts against, from when it came in
        self.model: str | None = None
        self.streams = False  # asked for a stream
        self.status = 0
        self.input = self.output = 0
        self.first_byte_s: float | None = None
        self._begun = time.monotonic()
        self._time = time.time()

    def first_byte(self) -> None:
        """The answer begins."""
        if self.first_byte_s is None:
            self.first_byte_s = time.monotonic() - self._begun

    def document(self) -> dict[str, Any]:
        """The line of the request log, of one that has ended now. Durations in seconds."""
        first = self.first_byte_s
        when = datetime.fromtimestamp(self._time, timezone.utc)  # noqa: UP017  Python 3.10
        return {
            "time": when.isoformat(timespec="milliseconds"),
            "request_id": self.request_id,
            "key": self.key,
            "model": self.model and self.model[:LONGEST_MODEL],
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "tokens_in": self.input,
            "tokens_out": self.output,
            "first_byte_s": None if first is None else round(first, 6),
            "duration_s": round(time.monotonic() - self._begun, 6),
        }


def _to_stderr(line: str) -> None:
    with suppress(OSError, ValueError):  # where nobody reads the log, requests go on
        print(line, file=sys.stderr, flush=True)
