"""What the door computes for a stream, in instructions of the processor, as valgrind counts them.

    python -m benchmarks.door.instructions [--texts 64] [--streams 500]

Each way is run twice in a machine that is emulated, once with more streams than the other time:
what a stream takes lies between, and is the same on any machine, however busy. Prints a table.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.door.alone import ROOT, App, stream, ways

HEAD = """\
| | instructions a stream | more |
|---|---:|---:|"""
WARM = 200  # streams after which the interpreter has made of its code what it makes
_COUNT = re.compile(r"I\s+refs:\s+([\d,]+)")
_TOOL = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]


class NotMeasuredError(Exception):
    """valgrind is not there, or a run of it failed."""


def instructions(place: Path, way: str, texts: int, streams: int) -> float:
    """Those of one stream."""
    runs = [_count(place, way, texts, WARM + more) for more in (0, streams)]
    return (runs[1] - runs[0]) / streams


def _count(place: Path, way: str, texts: int, streams: int) -> int:
    command = [*_TOOL, sys.executable, "-m", "benchmarks.door.instructions", "--run", str(place)]
    command += ["--way", way, "--texts", str(texts), "--streams", str(streams)]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise NotMeasuredError("valgrind is not installed") from error
    found = _COUNT.search(done.stderr)
    if done.returncode or found is None:
        raise NotMeasuredError(done.stderr[-2000:])
    return int(found[1].replace(",", ""))


async def run(app: App, key: str, texts: int, streams: int) -> None:
    """So many streams, one after the other."""
    for _ in range(streams):
        for _ in stream(app, key, texts):
            pass


def table(texts: int, streams: int) -> list[str]:
    """Its rows: what is without a door, and what more with one.

    Raises:
        NotMeasuredError: nothing can be counted.
    """
    from benchmarks.door.client import configuration

    with tempfile.TemporaryDirectory() as name:
        place = configuration(Path(name))
        found = {way: instructions(place, way, texts, streams) for way in ways(place)}
    plain, *_ = found.values()
    rows = [(way, f"{each:,.0f}", f"{each - plain:+,.0f}") for way, each in found.items()]
    return [f"| {' | '.join(row)} |" for row in rows]


def main() -> int:
    """Prints the table; 4 where valgrind is not there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)  # what is emulated
    parser.add_argument("--way", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run is not None:
        key = (given.run.parent / "api_key").read_text()
        asyncio.run(run(ways(given.run)[given.way], key, given.texts, given.streams))
        return 0
    try:
        rows = table(given.texts, given.streams)
    except NotMeasuredError as error:
        print(f"error: {error}", file=sys.stderr)
        return 4
    print("\n".join([HEAD, *rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
