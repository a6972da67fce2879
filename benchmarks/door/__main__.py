"""Measures the door's cost: the same streams through a server with it and without, side by side.

    python -m benchmarks.door [--app vllm] [--streams 64,256,1024] [--pairs 10]

Prints a table in markdown; progress goes to stderr. README.md says what is measured.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import numpy as np
from benchmarks.door.client import CHUNKS, interval_s
from benchmarks.door.paired import KEPT, MISSED, UNRESOLVED, Measured, apart, interval, judged, pair
from benchmarks.door.servers import Start, prepare, servers

CPU_MORE = 0.02  # what the door may cost
HEAD = """\
| streams | ms between texts | CPU a stream, ms | with the door | more | TTFT p50 added, ms \
| TTFT p99 − 300 ms | with the door | client late p99 | with the door |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"""


def compare(folder: Path, streams: int, given: argparse.Namespace) -> tuple[str, int]:
    """A row of the table, and what it says of what the door may cost.

    Every pair has new processes: two of the same program differ by some per cent for as long as
    they live.
    """
    start = Start(given.app, interval_s(streams, given.app))
    plain, door = [], []
    for number in range(given.pairs):
        first = bool(number % 2)
        with servers(folder, start, (first, not first)) as both, apart(both):
            asyncio.run(pair(both, 16, 8))  # warm
            runs = asyncio.run(pair(both, streams, given.chunks))
        plain.append(runs[first])
        door.append(runs[not first])
        print(f"{streams} streams: pair {number + 1} of {given.pairs}", file=sys.stderr)
    return row(start, streams, plain, door), verdict(plain, door)


def differences(plain: list[Measured], door: list[Measured]) -> tuple[np.ndarray, np.ndarray]:
    """Of each pair: what more CPU the door takes, as a share, and what it adds to the median TTFT,
    in milliseconds."""
    both = list(zip(plain, door, strict=True))
    more = np.array([b.cpu_s / a.cpu_s - 1 for a, b in both])
    return more, 1e3 * np.array([b.seen.first_p50 - a.seen.first_p50 for a, b in both])


def verdict(plain: list[Measured], door: list[Measured]) -> int:
    """An exit code, of the CPU: streams at the same time wait for each other, so that their times
    say little."""
    return judged(differences(plain, door)[0], CPU_MORE)


def row(start: Start, streams: int, plain: list[Measured], door: list[Measured]) -> str:
    """What a table says of runs in pairs."""
    cpu = 1e3 * np.array([[a.cpu_s, b.cpu_s] for a, b in zip(plain, door, strict=True)])
    (more, more_half), (added, added_half) = map(interval, differences(plain, door))
    last = [
        1e3 * float(np.median([name(run.seen) for run in runs]))
        for name in (lambda seen: seen.first_p99 - 0.3, lambda seen: seen.late_p99)
        for runs in (plain, door)
    ]
    cells = [
        f"{streams:,}",
        f"{1e3 * start.interval_s:.0f}",
        *(f"{each:.2f}" for each in cpu.mean(axis=0)),
        f"{more:+.1%} ± {more_half:.1%}",
        f"{added:+.3f} ± {added_half:.3f}",
        *(f"{each:.2f}" for each in last),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Prints the table; says by its exit code whether the door costs no more than it may."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    apps = ("vllm", "fastapi", "bare", "silent")
    parser.add_argument("--app", choices=apps, default="vllm", help="what the door is before")
    parser.add_argument("--streams", default="64,256,1024")
    parser.add_argument("--chunks", type=int, default=CHUNKS, help="texts of a stream")
    parser.add_argument("--pairs", type=int, default=10)
    given = parser.parse_args()
    codes = set()
    print(HEAD)
    with tempfile.TemporaryDirectory(prefix="door-") as name:
        folder = Path(name)
        prepare(folder, given.app)
        for streams in map(int, given.streams.split(",")):
            text, code = compare(folder, streams, given)
            print(text, flush=True)
            codes.add(code)
    if codes == {KEPT}:
        return KEPT
    return MISSED if MISSED in codes else UNRESOLVED


if __name__ == "__main__":
    sys.exit(main())
