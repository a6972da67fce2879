"""Measures what the gateway adds: the same streams through it and past it, in turn.

    python -m benchmarks.gateway [--streams 1,64,512] [--rounds 25,10,4] [--requests 500]

Prints two tables in markdown; progress goes to stderr. README.md says what is measured.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from benchmarks.door.client import Stream, chat, ended, firsts, in_turn, interval_s
from benchmarks.door.paired import Server
from benchmarks.door.servers import Start, servers

from deployctl import host
from deployctl.render.gateway import GatewayEntry
from deployctl.targets.gateway import Gateway
from deployctl.targets.gatewayfiles import FolderFiles
from deployctl.targets.process.caddy import Caddy

APP = "bare"  # the least that answers: what the gateway adds is the largest share that it can be
WARM = 50  # requests of each kind that are not counted
DRAWS = 1000  # of the bootstrap
SINGLE = """\
| requests of each kind | TTFT p50 − 300 ms | through it | more | p99 − 300 ms | through it | more |
|---:|---:|---:|---:|---:|---:|---:|"""
MANY = """\
| streams | ms between texts | rounds | TTFT p50 added, ms | p99 added | gap p50 added, ms \
| p99 added | CPU a stream, ms | the gateway's, ms | client late p99, ms | through it |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"""


class Heard(Stream):
    """A stream that notes when each text came."""

    def __init__(self, request: bytes) -> None:
        super().__init__(request)
        self.came: list[float] = []

    def data_received(self, data: bytes) -> None:
        """One piece of the answer."""
        if b"data: {" in data:  # neither the head, which comes before, nor the end
            self.came.append(self._loop.time())
        super().data_received(data)


class Run(NamedTuple):
    """What one load came to, in seconds."""

    firsts: np.ndarray  # from each request to its first text
    gaps: np.ndarray  # between two texts of a stream
    late: np.ndarray  # of the client's own loop
    cpu: np.ndarray  # a stream: of the server, and of the gateway


@contextmanager
def gateway(folder: Path, port: int) -> Iterator[Server]:
    """The gateway before a server on a port, as `up --gateway` has it."""
    listens = host.free_port()
    wanted = GatewayEntry(
        service="demo", port=listens, exposed=False, domain=None, tls=None, hold_s=300
    )
    made = Gateway(FolderFiles(folder), Caddy(folder))
    try:
        made.admit(wanted, f"127.0.0.1:{port}")
        yield Server(json.loads((folder / "engine.json").read_text())["pid"], listens)
    finally:
        made.leave("demo")
        made.end_unused("demo")


@contextmanager
def sides(folder: Path, streams: int) -> Iterator[list[Server]]:
    """A server that has a core to itself, and the gateway before it, on the client's: an engine's
    host has cores enough for both."""
    cores = sorted(os.sched_getaffinity(0))
    start = Start(APP, interval_s(streams, APP))
    with (
        servers(folder, start, (False,)) as (server,),
        gateway(folder / "gateway", server.port) as way,
    ):
        if len(cores) > 1:
            os.sched_setaffinity(0, cores[:1])
            way.pin(cores[:1], cores[:1])
            server.pin(cores[1:2], cores[1:2])
        try:
            yield [server, way]
        finally:
            os.sched_setaffinity(0, cores)


async def run(asked: Server, both: list[Server], streams: int, begin_s: float) -> Run:
    """One load, through the gateway or past it."""
    before = np.array([each.cpu_s() for each in both])
    heard, late = await ended(asked.port, streams, partial(Heard, chat()), begin_s)
    cpu = (np.array([each.cpu_s() for each in both]) - before) / streams
    gaps = np.concatenate([np.diff(each.came) for each in heard])
    return Run(np.array(firsts(heard)), gaps, np.array(late), cpu)


def loads(folder: Path, streams: int, rounds: int) -> tuple[list[Run], list[Run]]:
    """Runs past the gateway and through it: one of each in every round, in changing order."""
    kinds: tuple[list[Run], list[Run]] = ([], [])
    with sides(folder, streams) as both:
        for number in range(rounds + 1):
            order = (0, 1) if number % 2 else (1, 0)
            for kind in order:
                done = asyncio.run(run(both[kind], both, streams, min(1.0, streams / 64)))
                if number:  # the first one warms
                    kinds[kind].append(done)
            print(f"{streams} streams: round {number} of {rounds}", file=sys.stderr)
    return kinds


def added(kinds: tuple[list[Run], list[Run]], name: str, share: float) -> tuple[float, float]:
    """What the gateway adds to a percentile of all rounds together, in ms, and half the width of
    its 95% interval: the rounds are drawn again, each with what went past and through it."""
    past, through = ([getattr(run, name) for run in runs] for runs in kinds)

    def more(chosen: np.ndarray) -> float:
        ends = (np.concatenate([runs[i] for i in chosen]) for runs in (through, past))
        high, low = (np.percentile(each, share) for each in ends)
        return 1e3 * float(high - low)

    draws = np.random.default_rng(0).integers(len(past), size=(DRAWS, len(past)))
    low, high = np.percentile([more(chosen) for chosen in draws], (2.5, 97.5))
    return more(np.arange(len(past))), float(high - low) / 2


def row(streams: int, kinds: tuple[list[Run], list[Run]]) -> str:
    """What the table says of some loads."""
    cells = [f"{streams:,}", f"{1e3 * interval_s(streams, APP):.0f}", f"{len(kinds[0])}"]
    for name in ("firsts", "gaps"):
        for share in (50, 99):
            centre, half = added(kinds, name, share)
            cells.append(f"{centre:+.3f} ± {half:.3f}")
    cpu = 1e3 * np.mean([each.cpu for each in kinds[1]], axis=0)
    cells += [f"{each:.2f}" for each in cpu]
    for runs in kinds:
        cells.append(f"{1e3 * np.percentile(np.concatenate([r.late for r in runs]), 99):.2f}")
    return f"| {' | '.join(cells)} |"


def single(folder: Path, requests: int) -> str:
    """TTFT of requests of which none waits for another, through the gateway and past it in turn."""
    with sides(folder, 1) as both:
        asked = [(each.port, chat(1)) for each in both]
        asyncio.run(in_turn(asked, WARM))
        times = 1e3 * np.array(asyncio.run(in_turn(asked, requests))) - 300
    cells = [f"{requests}"]
    for share in (50, 99):
        past, through = np.percentile(times, share, axis=1)
        cells += [f"{past:.3f}", f"{through:.3f}", f"{through - past:+.3f}"]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", default="1,64,512")
    parser.add_argument("--rounds", default="25,10,4", help="of each number of streams")
    parser.add_argument("--requests", type=int, default=500, help="of each kind, one at a time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gateway-") as name:
        print(SINGLE)
        print(single(Path(name), given.requests), end="\n\n", flush=True)
        print(MANY)
        for streams, rounds in zip(given.streams.split(","), given.rounds.split(","), strict=True):
            print(row(int(streams), loads(Path(name), int(streams), int(rounds))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
