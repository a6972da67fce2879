"""What each step of a stream costs with the door, in one process, where the caches are cold.

    python -m benchmarks.door.cold [--warm] [--rounds 300]

No server and no socket: an application that streams is run by hand from one of its waits to the
next, and before each step other work empties the caches, as other requests do in a server. Medians
of many steps tell microseconds apart though the machine does other things. Prints a table.
"""

import argparse
import asyncio
import inspect
import random
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
from benchmarks.door.alone import App, stream, ways
from benchmarks.door.client import KEY, configuration

TEXTS = 8  # of a stream here: each but the first costs the same
HEAD = """\
| | request | head of the answer | first text | each text | end | 64 texts |
|---|---:|---:|---:|---:|---:|---:|"""
_EMPTY, _FULL = bytearray(6 << 20), bytes(6 << 20)  # more than a core's own caches hold
_SOURCE = textwrap.dedent(inspect.getsource(textwrap.TextWrapper._wrap_chunks))


def steps(app: App, *, warm: bool) -> list[float]:
    """Microseconds of each step of one stream, from one wait to the next."""
    running, taken, ended = stream(app, KEY, TEXTS), [], False
    while not ended:
        if not warm:
            _EMPTY[:] = _FULL
            compile(_SOURCE, "other work", "exec")
        begun = time.perf_counter_ns()
        try:
            next(running)
        except StopIteration:
            ended = True
        taken.append((time.perf_counter_ns() - begun) / 1e3)
    return taken


async def measure(rounds: int, *, warm: bool) -> dict[str, np.ndarray]:
    """Medians of what a table has in its columns, in microseconds; each round in another order."""
    with tempfile.TemporaryDirectory() as name:
        apps = ways(configuration(Path(name)))
        taken: dict[str, list[list[float]]] = {name: [] for name in apps}
        for _ in range(rounds):
            for each in random.sample(list(apps), len(apps)):
                taken[each].append(steps(apps[each], warm=warm))
    found = {}
    for name, each in taken.items():
        request, head, first, *texts, end = np.median(np.array(each), axis=0)
        text = float(np.median(texts))
        whole = request + head + first + 63 * text + end
        found[name] = np.array([request, head, first, text, end, whole])
    return found


def main() -> int:
    """Prints the table: what is without a door, and what is more with one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--warm", action="store_true", help="leave the caches as they are")
    parser.add_argument("--rounds", type=int, default=300)
    given = parser.parse_args()
    found = asyncio.run(measure(given.rounds, warm=given.warm))
    plain, *_ = found.values()
    print(HEAD)
    for number, (name, each) in enumerate(found.items()):
        cells = [
            f"{cell:+.2f}" if number else f"{cell:.2f}" for cell in each - plain * (number > 0)
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
