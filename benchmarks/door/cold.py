"""What each step of a stream costs with the door, in one process, where the caches are cold.

    python -m benchmarks.door.cold [--warm] [--rounds 300]

No server and no socket: an application that streams is run by hand from one of its waits to the
next, and before each step other work empties the caches, as other requests do in a server. Medians
of many steps tell microseconds apart though the machine does other things. Prints a table.
"""

import argparse
import asyncio
import inspect
import json
import math
import random
import sys
import tempfile
import textwrap
import time
import types
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.door.app import DONE, EVENT, TOLD, Told, Usage
from benchmarks.door.client import KEY, configuration

ROOT = Path(__file__).resolve().parents[2]
TEXTS = 8  # of a stream here: each but the first costs the same
HEAD = """\
| | request | head of the answer | first text | each text | end | 64 texts |
|---|---:|---:|---:|---:|---:|---:|"""
_EMPTY, _FULL = bytearray(6 << 20), bytes(6 << 20)  # more than a core's own caches hold
_SOURCE = textwrap.dedent(inspect.getsource(textwrap.TextWrapper._wrap_chunks))

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Any]], Any]


@types.coroutine
def _wait() -> Generator[None, None, None]:
    yield


def engine(*, tells: bool) -> App:
    """Streams, and tells usage beside its answer as vLLM does, or in it alone."""

    async def app(scope: Message, receive: Any, send: Any) -> None:
        told = scope["state"]["request_metadata"] = Told()
        asked = json.loads((await receive())["body"])
        await _wait()
        head = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for _ in range(TEXTS):
            await _wait()
            await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        await _wait()
        if asked.get("stream_options"):
            await send({"type": "http.response.body", "body": TOLD, "more_body": True})
        if tells:
            told.final_usage_info = Usage()
        await send({"type": "http.response.body", "body": DONE})

    return app


def passage(app: App) -> App:
    """Awaits an application, and does nothing else."""

    async def passes(scope: Message, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return passes


def counting(app: App) -> App:
    """The same, and counts what is sent: the least that the door has to do."""

    async def passes(scope: Message, receive: Any, send: Any) -> None:
        parts = 0

        def counted(message: Message) -> Any:
            nonlocal parts
            parts += 1
            return send(message)

        await app(scope, receive, counted)

    return passes


def doors(folder: Path) -> dict[str, App]:
    """What is compared, by its name in the table; the first is what others are held against."""
    package = str(ROOT / "deploy" / "door")
    if package not in sys.path:
        sys.path.insert(0, package)
    from deployctl_door.configuration import load
    from deployctl_door.door import Door

    def door(app: App) -> App:
        made = Door(app, load(configuration(folder)))
        # Files are looked at four times a second, however many requests: not in each of few.
        made._keys._checked = made._drain._checked = math.inf
        return made

    bare, silent = engine(tells=True), engine(tells=False)
    return {
        "no door": bare,
        "a passage that does nothing": passage(bare),
        "a passage that counts": counting(bare),
        "the door": door(bare),
        "the door, of an engine that tells usage in the stream alone": door(silent),
    }


def steps(app: App, *, warm: bool) -> list[float]:
    """Microseconds of each step of one stream, from one wait to the next."""
    body = {"model": "demo", "messages": [{"role": "user", "content": "a few words " * 16}]}
    content = json.dumps({**body, "stream": True, "max_tokens": TEXTS}).encode()
    path = "/v1/chat/completions"
    scope: Message = {
        "type": "http", "http_version": "1.1", "scheme": "http", "method": "POST", "path": path,
        "raw_path": path.encode(), "root_path": "", "query_string": b"", "state": {},
        "headers": [
            (b"host", b"x"), (b"authorization", f"Bearer {KEY}".encode()),
            (b"content-type", b"application/json"), (b"content-length", b"%d" % len(content)),
        ],
    }  # fmt: skip

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Message) -> None:
        pass

    async def served() -> None:
        await app(scope, receive, send)

    running, taken, ended = served(), [], False
    while not ended:
        if not warm:
            _EMPTY[:] = _FULL
            compile(_SOURCE, "other work", "exec")
        begun = time.perf_counter_ns()
        try:
            running.send(None)
        except StopIteration:
            ended = True
        taken.append((time.perf_counter_ns() - begun) / 1e3)
    return taken


async def measure(rounds: int, *, warm: bool) -> dict[str, np.ndarray]:
    """Medians of what a table has in its columns, in microseconds; each round in another order."""
    with tempfile.TemporaryDirectory() as name:
        apps = doors(Path(name))
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


def _signed(more: np.ndarray) -> list[str]:
    return [f"{cell:+.2f}" for cell in more]


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
