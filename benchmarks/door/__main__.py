"""Measures the door's cost: the same streams through uvicorn with it and without, side by side.

    python -m benchmarks.door [--app fastapi] [--streams 64,256,1024] [--pairs 10] [--turns]

Prints a table in markdown; progress goes to stderr. README.md says what is measured.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from benchmarks.door.client import CHUNKS, Seen, chat, configuration, interval_s, load
from benchmarks.door.paired import Server, interval, listens

from deployctl import host

ROOT = Path(__file__).resolve().parents[2]
CPU_MORE, TTFT_MORE_MS = 0.02, 0.2  # what the door may cost
HEAD = """\
| streams | ms between texts | CPU a stream, ms | with the door | more | TTFT p50 added, ms \
| TTFT p99 − 300 ms | with the door | client late p99 | with the door |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"""


class Measured(NamedTuple):
    """One run: CPU seconds of the server a stream, and what the client saw."""

    cpu_s: float
    seen: Seen


@contextmanager
def server(folder: Path, app: str, *, door: bool) -> Iterator[Server]:
    """Uvicorn, with the event loop and the parser that vLLM has, with or without the door."""
    port = host.free_port()
    environment = {k: v for k, v in os.environ.items() if k != "DOOR_CONFIGURATION"}
    paths = [ROOT, ROOT / "deploy" / "door", *filter(None, [environment.get("PYTHONPATH")])]
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, paths)), "DOOR_APP": app}
    if door:
        environment["DOOR_CONFIGURATION"] = str(folder / "door.json")
    command = [sys.executable, "-m", "uvicorn", "benchmarks.door.app:app", "--port", str(port)]
    command += ["--log-level", "warning", "--no-access-log", "--backlog", "2048"]
    command += ["--loop", "uvloop", "--http", "httptools"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        for _ in range(400):
            if listens(port):
                break
            time.sleep(0.05)
        yield Server(process.pid, port)
    finally:
        process.terminate()
        process.wait(10)


async def measure(server: Server, streams: int, chunks: int) -> Measured:
    """One run of streams of so many texts."""
    before = server.cpu_s()
    seen = await load(server.port, streams, chat(streams, chunks))
    return Measured((server.cpu_s() - before) / streams, seen)


async def pair(servers: list[Server], streams: int, chunks: int, *, turns: bool) -> list[Measured]:
    """The same load on each: at the same time, so that what else the machine does is in both, or
    on one after the other, so that none waits for the other."""
    if turns:
        return [await measure(each, streams, chunks) for each in servers]
    return await asyncio.gather(*(measure(each, streams, chunks) for each in servers))


def compare(folder: Path, streams: int, given: argparse.Namespace) -> tuple[str, bool]:
    """A row of the table, and whether the door costs no more than it may.

    Every pair has new processes: two of the same program differ by some per cent for as long as
    they live.
    """
    cores = sorted(os.sched_getaffinity(0))
    plain, door = [], []
    app, chunks, turns = given.app, given.chunks, given.turns
    for number in range(given.pairs):
        first = bool(number % 2)
        with server(folder, app, door=first) as one, server(folder, app, door=not first) as other:
            if len(cores) > 1:  # the client has one, the servers share another
                os.sched_setaffinity(0, cores[:1])
                for each in (one, other):
                    os.sched_setaffinity(each.pid, cores[1:2])
            asyncio.run(pair([one, other], 16, 8, turns=turns))  # warm
            runs = asyncio.run(pair([one, other], streams, chunks, turns=turns))
            os.sched_setaffinity(0, cores)
        plain.append(runs[first])
        door.append(runs[not first])
        print(f"{streams} streams: pair {number + 1} of {given.pairs}", file=sys.stderr)
    return row(streams, plain, door)


def row(streams: int, plain: list[Measured], door: list[Measured]) -> tuple[str, bool]:
    """What a table says of runs in pairs."""
    cpu = np.array([[a.cpu_s, b.cpu_s] for a, b in zip(plain, door, strict=True)]) * 1e3
    more, more_half = interval(cpu[:, 1] / cpu[:, 0] - 1)
    firsts = [b.seen.first_p50 - a.seen.first_p50 for a, b in zip(plain, door, strict=True)]
    added, added_half = interval(1e3 * np.array(firsts))
    last = [
        1e3 * float(np.median([name(run.seen) for run in runs]))
        for name in (lambda seen: seen.first_p99 - 0.3, lambda seen: seen.late_p99)
        for runs in (plain, door)
    ]
    cells = [
        f"{streams:,}",
        f"{1e3 * interval_s(streams):.0f}",
        *(f"{each:.2f}" for each in cpu.mean(axis=0)),
        f"{more:+.1%} ± {more_half:.1%}",
        f"{added:+.3f} ± {added_half:.3f}",
        *(f"{each:.2f}" for each in last),
    ]
    text = f"| {' | '.join(cells)} |"
    return text, more <= CPU_MORE and added < TTFT_MORE_MS


def main() -> int:
    """Prints the table; 1 where the door costs more than it may."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--app", choices=("bare", "silent", "fastapi"), default="bare")
    parser.add_argument("--streams", default="64,256,1024")
    parser.add_argument("--chunks", type=int, default=CHUNKS, help="texts of a stream")
    parser.add_argument("--turns", action="store_true", help="one server after the other")
    parser.add_argument("--pairs", type=int, default=10)
    given = parser.parse_args()
    well = True
    print(HEAD)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configuration(folder)
        for streams in given.streams.split(","):
            text, kept = compare(folder, int(streams), given)
            print(text, flush=True)
            well = well and kept
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
