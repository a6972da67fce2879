"""What the door keeps alive for a stream under way, in objects that Python's garbage collector
walks over.

    python -m benchmarks.door.objects [--streams 256]

Streams are run by hand into the midst of their texts, and what is alive then is counted: the figure
is the same on any machine, however busy. Prints a table.
"""

import argparse
import asyncio
import gc
import sys
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.door import app
from benchmarks.door.alone import App, guarded, stream, ways
from benchmarks.door.client import KEY, configuration

HEAD = """\
| | objects a stream | bytes | which |
|---|---:|---:|---|"""


class Held(NamedTuple):
    """What is alive of each stream: objects by the name of their type, and bytes of memory."""

    objects: Counter[str]
    size: float

    def more(self, other: "Held") -> "Held":
        """What another one has not."""
        left = Counter(self.objects)
        left.subtract(other.objects)
        return Held(Counter({name: n for name, n in left.items() if n}), self.size - other.size)


def held(of: App, streams: int) -> Held:
    """What so many streams keep alive, each: beside as many others, so that what is there once,
    whatever their number, is in neither count."""
    _under_way(of).close()
    for _ in stream(of, KEY, 4):  # a door learns from the last one that has ended
        pass
    running = [_under_way(of) for _ in range(streams)]
    before, bytes_before = _alive()
    running += [_under_way(of) for _ in range(streams)]
    after, bytes_after = _alive()
    after.subtract(before)
    for each in running:
        each.close()
    found = {name: round(n / streams) for name, n in after.items()}
    more = Counter({name: n for name, n in found.items() if n})
    return Held(more, (bytes_after - bytes_before) / streams)


def _under_way(of: App) -> Generator[None, None, None]:
    running = stream(of, KEY, 4)
    for _ in ("request", "head", "first text", "second text"):
        next(running)
    return running


def _alive() -> tuple[Counter[str], int]:
    for _ in range(
        3
    ):  # a tuple of what is never walked over is let go of once it has been looked at
        gc.collect()
    return Counter(
        type(each).__name__ for each in gc.get_objects()
    ), tracemalloc.get_traced_memory()[0]


async def measure(streams: int) -> dict[str, Held]:
    """What is alive of a stream without a door, and what more in each other way."""
    with _traced() as place:
        found = {way: held(each, streams) for way, each in ways(place).items()}
    plain, *_ = found.values()
    return {way: each if each is plain else each.more(plain) for way, each in found.items()}


async def framework(streams: int) -> dict[str, Held]:
    """The same of an application that is built as vLLM builds its own."""
    app.FIRST_S = app.INTERVAL_S = 0.0  # a text is waited for, and no time
    served: App = app.as_vllm()
    with _traced() as place:
        plain, door = (held(each, streams) for each in (served, guarded(served, place)))
    return {"FastAPI": plain, "FastAPI, the door": door.more(plain)}


@contextmanager
def _traced() -> Iterator[Path]:
    gc.freeze()  # what is there before need not be looked at
    tracemalloc.start()
    try:
        with tempfile.TemporaryDirectory() as name:
            yield configuration(Path(name))
    finally:
        tracemalloc.stop()
        gc.unfreeze()


def main() -> int:
    """Prints the table: what is without a door, and what is more with one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", type=int, default=256)
    given = parser.parse_args()
    print(HEAD)
    found = asyncio.run(measure(given.streams)) | asyncio.run(framework(given.streams))
    for name, each in found.items():
        kinds = ", ".join(f"{n} {kind}" for kind, n in each.objects.most_common())
        print(f"| {name} | {each.objects.total()} | {each.size:.0f} | {kinds} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
