"""Measures what the door adds to the time to the first text (TTFT), before vLLM's own API server.

    python -m benchmarks.door.first [--servers 8] [--requests 400]

One server is asked through its door and past it, in turn: what else the machine does is in both,
and so is what two processes of one program differ by. No request waits for another. Prints a table
in markdown; progress goes to stderr.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.door.client import INTERVAL_S, chat, in_turn
from benchmarks.door.paired import apart, interval, judged
from benchmarks.door.servers import Start, prepare, servers

PAST = b"past"  # the query of a request that does not go through the door
MOST_MS = 0.2  # what the door may add to the median
WARM = 100  # requests of each kind that are not counted
HEAD = """\
| servers | requests | TTFT p50 − 300 ms | with the door | more | p99 − 300 ms | with the door |
|---:|---:|---:|---:|---:|---:|---:|"""


class Switch:
    """For vLLM's `--middleware`, behind the door's: a way past the door that it wraps."""

    def __init__(self, door: Any) -> None:
        self._door, self._behind = door, door._app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request, with the door or without."""
        past = scope.get("query_string") == PAST
        await (self._behind if past else self._door)(scope, receive, send)


def measured(folder: Path, count: int, requests: int) -> np.ndarray:
    """TTFT beyond what the schedule has, in ms: of each server, past the door and through it, the
    median and the 99th percentile: shape (servers, 2, 2)."""
    start = Start("vllm", INTERVAL_S, ("--middleware", "benchmarks.door.first.Switch"))
    asked = [chat(1, f"?{PAST.decode()}"), chat(1, "?door")]
    found = []
    for number in range(count):
        with servers(folder, start, (True,)) as (server,), apart([server]):
            there = [(server.port, each) for each in asked]
            asyncio.run(in_turn(there, WARM))
            times = asyncio.run(in_turn(there, requests))
        found.append([np.percentile(1e3 * np.array(each) - 300, (50, 99)) for each in times])
        print(f"server {number + 1} of {count}", file=sys.stderr)
    return np.array(found)


def main() -> int:
    """Prints the table; says by its exit code whether the door adds no more than it may."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--servers", type=int, default=8, help="one after the other")
    parser.add_argument("--requests", type=int, default=400, help="of each kind, to each server")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="door-") as name:
        prepare(Path(name), "vllm")
        times = measured(Path(name), given.servers, given.requests)
    added = times[:, 1, 0] - times[:, 0, 0]
    centre, half = interval(added)
    p50, p99 = np.median(times, axis=0).T
    print(HEAD)
    print(
        f"| {given.servers} | {given.requests} | {p50[0]:.3f} | {p50[1]:.3f} "
        f"| {centre:+.3f} ± {half:.3f} | {p99[0]:.2f} | {p99[1]:.2f} |"
    )
    return judged(added, MOST_MS)


if __name__ == "__main__":
    sys.exit(main())
