"""Measures what the gateway adds: the same streams past it, through it and through nginx, in turn.

    python -m benchmarks.gateway [--streams 1,64,512] [--rounds 45,11,3]

Prints a table in markdown for each number of streams, and what of it is within the limits; progress
goes to stderr. Exits with 0 where all of each interval is within its limit, with 1 where all of one
is above it, else with 2. README.md says what is measured.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from benchmarks.door.client import CHUNKS, MOST_TEXTS_BARE
from benchmarks.door.paired import KEPT, MISSED, UNRESOLVED, Server
from benchmarks.gateway import peer
from benchmarks.gateway.loop import FIRST_NS, Load, Loop, Told

from deployctl import host
from deployctl.render.gateway import GatewayEntry
from deployctl.targets.gateway import Gateway
from deployctl.targets.gatewayfiles import FolderFiles
from deployctl.targets.process.caddy import Caddy

INTERVAL_S = 0.02
SHARES = (50, 99)
DRAWS = 500  # of the bootstrap
# Requests of one round and kind, in as many as are under way at once; the first and the last of
# these meet fewer others, and are not counted. And texts of each.
LONG = {1: (12, 8), 64: (6, CHUNKS)}
FEW = (3, CHUNKS)
MEASURES = {
    "first": "TTFT, as its user sees it",
    "first_alone": "TTFT, less the engine's time",
    "gap": "gap, as its user sees it",
    "gap_alone": "gap, less the engine's",
    "way": "a text on its way",
}
LIMITS = {"first": 1.0, "first_alone": 1.0, "gap": 0.1, "gap_alone": 0.1}  # ms added to p99
LIMITED = (1, 64)  # streams
SAID = {KEPT: "within", MISSED: "above", UNRESOLVED: "not told from"}
PAST, THROUGH, PEER = "past", "gateway", "nginx"  # the kinds of a run
HEAD = """\
| ms | | past it | through it | added | nginx adds | as many times | limit |
|---|---|---:|---:|---:|---:|---:|---|"""


class Run(NamedTuple):
    """What one load came to, in milliseconds."""

    first: np.ndarray  # from each request's beginning to its first text, less what this waits
    first_alone: np.ndarray  # less what the engine took
    gap: np.ndarray  # between two texts of a stream, as they came
    gap_alone: np.ndarray  # less what was between them as they were sent
    way: np.ndarray  # of each text
    cpu: float  # of the gateway, a stream
    sent_late: float  # p99, than the schedule says
    read_late: float  # p99, than it came
    shared: int  # texts that have a later one's stamp


@contextmanager
def gateway(folder: Path, port: int) -> Iterator[Server]:
    """The gateway before a server on a port, as `up --gateway` has it."""
    listens = host.free_port()
    wanted = GatewayEntry(
        service="demo", port=listens, exposed=False, domain=None, tls=None, hold_s=300
    )
    made = Gateway(FolderFiles(folder), Caddy(folder))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends it, too
    try:
        made.admit(wanted, f"127.0.0.1:{port}")
        yield Server(json.loads((folder / "engine.json").read_text())["pid"], listens)
    finally:
        made.leave("demo")
        made.end_unused("demo")


@contextmanager
def sides(folder: Path) -> Iterator[tuple[Loop, dict[str, Server]]]:
    """Users and engine on one core, and what is before them on any, as on a host. nginx is left out
    where it is not installed."""
    cores = sorted(os.sched_getaffinity(0))
    loop = Loop()
    try:
        with ExitStack() as stack:
            ways = {THROUGH: stack.enter_context(gateway(folder / "gateway", loop.port))}
            if peer.here():
                ways[PEER] = stack.enter_context(peer.nginx(folder / "nginx", loop.port))
            os.sched_setaffinity(0, cores[:1])
            yield loop, ways
    finally:
        os.sched_setaffinity(0, cores)
        loop.close()


def load_of(streams: int) -> Load:
    """What is asked in one round and kind, with so many streams under way."""
    times, texts = LONG.get(streams, FEW)
    interval = int(1e9 * max(INTERVAL_S, streams / MOST_TEXTS_BARE))
    lasts = FIRST_NS + texts * interval  # the end of a stream comes as another text
    return Load(times * streams, lasts // streams, texts, interval)


def run(loop: Loop, way: Server | None, load: Load, streams: int) -> Run:
    """One load: through that, or past everything."""
    before = way.cpu_s() if way else 0.0
    told = loop.run(load, way.port if way else loop.port)
    cpu = 1e3 * (way.cpu_s() - before) / load.requests if way else 0.0
    return seen(told[streams:-streams], cpu)


def seen(told: list[Told], cpu: float) -> Run:
    """What the times of some requests say."""
    begun, asked = np.array([[each.begun, each.asked] for each in told]).T
    sent, came = np.array([each.sent for each in told]), np.array([each.came for each in told])
    read, late = np.array([each.read for each in told]), np.array([each.late for each in told])
    gap = np.diff(came, axis=1)
    times = (
        came[:, 0] - begun - FIRST_NS,
        came[:, 0] - begun - (sent[:, 0] - asked),
        gap,
        gap - np.diff(sent, axis=1),
        came - sent,
    )
    lates = (float(np.percentile(each, 99)) / 1e6 for each in (late, read - came))
    shared = sum(each.shared for each in told)
    return Run(*(each.ravel() / 1e6 for each in times), cpu, *lates, shared)


def loads(folder: Path, streams: int, rounds: int) -> dict[str, list[Run]]:
    """Runs of each kind: one of each in every round, in changing order."""
    load = load_of(streams)
    with sides(folder) as (loop, ways):
        for way in ways.values():
            loop.run(load._replace(requests=2 * streams), way.port)  # warms
        kinds: dict[str, list[Run]] = {name: [] for name in (PAST, *ways)}
        for number in range(rounds):
            for name in np.random.default_rng(number).permutation(list(kinds)):
                kinds[name].append(run(loop, ways.get(name), load, streams))
            print(f"{streams} streams: round {number + 1} of {rounds}", file=sys.stderr)
    return kinds


def added(past: Sequence[Run], through: Sequence[Run], name: str) -> tuple[np.ndarray, ...]:
    """The percentiles SHARES of a measure past what is in the way and through it, of all rounds
    together, what it adds to them, and half the width of the 95% interval of that: the rounds are
    drawn again, each with what went past and through it (bootstrap)."""
    both = [[getattr(each, name) for each in runs] for runs in (past, through)]

    def ends(chosen: np.ndarray) -> list[np.ndarray]:
        return [np.percentile(np.concatenate([k[i] for i in chosen]), SHARES) for k in both]

    rounds = len(past)
    before, after = ends(np.arange(rounds))
    if rounds == 1:
        return before, after, after - before, np.full(len(SHARES), np.inf)
    draws = np.random.default_rng(0).integers(rounds, size=(DRAWS, rounds))
    low, high = np.percentile([high - low for low, high in map(ends, draws)], (2.5, 97.5), axis=0)
    return before, after, after - before, (high - low) / 2


def table(streams: int, kinds: dict[str, list[Run]]) -> tuple[str, int]:
    """What is said of some loads, and an exit code."""
    lines, codes = [HEAD], [KEPT]
    for name, title in MEASURES.items():
        before, after, more, half = added(kinds[PAST], kinds[THROUGH], name)
        *_, theirs, its_half = added(kinds[PAST], kinds.get(PEER, kinds[PAST]), name)
        for i, share in enumerate(SHARES):
            own, its = (float(more[i]), float(half[i])), (float(theirs[i]), float(its_half[i]))
            cells = [title if i == 0 else "", f"p{share}", f"{before[i]:.3f}", f"{after[i]:.3f}"]
            cells += [difference(*own), *(beside(own[0], *its) if PEER in kinds else ("", "")), ""]
            if name in LIMITS and streams in LIMITED and share == SHARES[-1]:
                codes.append(judged(*own, LIMITS[name]))
                cells[-1] = f"{SAID[codes[-1]]} {LIMITS[name]}"
                if PEER in kinds:
                    cells[-1] += f"; nginx {SAID[judged(*its, LIMITS[name])]}"
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([described(streams, kinds), "", *lines, ""]), worst(codes)


def difference(centre: float, half: float) -> str:
    """With half its interval."""
    return f"{centre:+.3f} ± {half:.3f}"


def beside(more: float, its: float, half: float) -> tuple[str, str]:
    """What nginx adds to a percentile, and how many times as much the gateway does, where it can be
    told from nothing."""
    return difference(its, half), f"{more / its:.1f}" if its > half else ""


def described(streams: int, kinds: dict[str, list[Run]]) -> str:
    """What was measured, what CPU it took, and how late the loop itself was."""
    past = kinds[PAST]
    requests, gaps = (sum(getattr(e, name).size for e in past) for name in ("first", "gap"))
    cpu = {kind: float(np.mean([each.cpu for each in runs])) for kind, runs in kinds.items()}
    of_peer = f", nginx's {cpu[PEER]:.2f} ms" if PEER in kinds else ""
    every = [each for runs in kinds.values() for each in runs]
    sent, read = (np.median([getattr(e, n) for e in every]) for n in ("sent_late", "read_late"))
    return (
        f"**{streams} at once**, of {gaps // requests + 1} texts each; {requests} requests and "
        f"{gaps} gaps of each kind, {len(past)} rounds. The gateway's CPU of a stream: "
        f"{cpu[THROUGH]:.2f} ms{of_peer}. The loop's own lateness, p99: {sent:.3f} ms to send, "
        f"{read:.3f} ms to read; {sum(each.shared for each in every)} texts were read with another."
    )


def worst(codes: list[int]) -> int:
    """Of some exit codes."""
    return max(codes, key=(KEPT, UNRESOLVED, MISSED).index)


def judged(centre: float, half: float, most: float) -> int:
    """An exit code: whether the whole interval is below the most."""
    if centre - half > most:
        return MISSED
    return KEPT if centre + half <= most else UNRESOLVED


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", default="1,64,512")
    parser.add_argument("--rounds", default="45,11,3", help="of each number of streams")
    given = parser.parse_args()
    codes = []
    with tempfile.TemporaryDirectory(prefix="gateway-") as name:
        for streams, rounds in zip(given.streams.split(","), given.rounds.split(","), strict=True):
            number = int(streams)
            said, code = table(number, loads(Path(name), number, int(rounds)))
            print(said, flush=True)
            codes.append(code)
    return worst(codes)


if __name__ == "__main__":
    sys.exit(main())
