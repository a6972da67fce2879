"""What each step of a stream costs with the door in vLLM's own API server, by the clock.

    python -m benchmarks.door.clock [--streams 64] [--loads 10]

One clock stands before the door and one behind it: what lies between them is the door's time, but
for their own, which a server without a door tells. Medians leave out what the machine does
meanwhile. Prints a table.
"""

import argparse
import asyncio
import atexit
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.door.client import CHUNKS, interval_s
from benchmarks.door.paired import apart, pair
from benchmarks.door.servers import Start, prepare, servers

FOLDER = "DOOR_CLOCK"  # of the server's environment: where it leaves its times
HEAD = """\
| µs | request | head of the answer | first text | each text | end | 64 texts |
|---|---:|---:|---:|---:|---:|---:|"""
_now = time.perf_counter_ns


class Clock:
    """For vLLM's `--middleware`, behind the door's: wraps it, and what it wraps.

    Leaves nanoseconds when the server ends: a list for each request, of the request, each part of
    the answer, and the end.
    """

    def __init__(self, app: Any) -> None:
        self._requests: list[list[int]] = []
        if hasattr(app, "_inspection"):  # the door
            self._door, self._behind = app, app._app
            app._app = self._inner
        else:
            self._door, self._behind = self._inner, app
        place = Path(os.environ[FOLDER], f"{os.getpid()}.json")
        atexit.register(lambda: place.write_text(json.dumps(self._requests)))

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Any]) -> None:
        """One request: before the door."""
        if scope["type"] != "http":
            await self._door(scope, receive, send)
            return
        taken: list[int] = []
        moment = [0]  # when what is behind the door was called, sent a part or ended
        scope["state"]["clock"] = taken, moment

        def passed(message: Any) -> Awaitable[None]:
            taken.append(_now() - moment[0])
            result: Awaitable[None] = send(message)
            return result

        moment[0] = _now()
        await self._door(scope, receive, passed)
        taken.append(_now() - moment[0])
        self._requests.append(taken)

    async def _inner(self, scope: Any, receive: Any, send: Callable[[Any], Any]) -> None:
        now = _now()
        if scope["type"] != "http":
            await self._behind(scope, receive, send)
            return
        taken, moment = scope["state"]["clock"]
        taken.append(now - moment[0])

        def sends(message: Any) -> Awaitable[None]:
            moment[0] = _now()
            result: Awaitable[None] = send(message)
            return result

        await self._behind(scope, receive, sends)
        moment[0] = _now()


def steps(requests: list[list[int]]) -> np.ndarray:
    """Medians in microseconds: what the table has in its columns."""
    ends = np.array([[*each[:3], each[-1]] for each in requests]) / 1e3
    request, head, first, end = np.median(ends, axis=0)
    text = float(np.median(np.concatenate([each[3:-1] for each in requests]))) / 1e3
    return np.array([request, head, first, text, end, request + head + first + 63 * text + end])


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", type=int, default=64, help="of a load")
    parser.add_argument("--loads", type=int, default=10)
    given = parser.parse_args()
    clock = ("--middleware", "benchmarks.door.clock.Clock")
    start = Start("vllm", interval_s(given.streams, "vllm"), clock)
    with tempfile.TemporaryDirectory(prefix="door-") as name:
        folder = Path(name)
        os.environ[FOLDER] = name
        prepare(folder, "vllm")
        with servers(folder, start, (False, True)) as both, apart(both):
            asyncio.run(pair(both, given.streams, CHUNKS))  # warm
            runs = [asyncio.run(pair(both, given.streams, CHUNKS)) for _ in range(given.loads)]
        alone, door = (
            steps(json.loads((folder / f"{each.pid}.json").read_text())[given.streams :])
            for each in both
        )
    more = door - alone
    print(HEAD)
    for title, cells in (("the clocks alone", alone), ("the door, more", more)):
        print(f"| {title} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
    cpu_us = 1e6 * float(np.mean([plain.cpu_s for plain, _ in runs])) - alone[-1]
    print(f"\nThe server without them: {cpu_us:.0f} µs of CPU a stream; {more[-1] / cpu_us:.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
