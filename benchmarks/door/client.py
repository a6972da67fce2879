"""The client: streams all at once, how late it is itself, and the key that it has."""

import asyncio
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from deployctl.engines.vllm import DEFAULT_VERSION, routes

KEY = "benchmark-key"
CHUNKS = 64  # texts of a stream, as in benchmarks/fidelity
INTERVAL_S = 0.02
# Texts a second, of a server's streams together: one that keeps up is compared, beside another on
# the same core.
MOST_TEXTS = {"vllm": 1_500}
MOST_TEXTS_BARE = 6_000
BEGIN_S = 1.0  # in which all streams of a load begin, evenly
BEAT_S = 0.005
# Between two requests: a first text, 300 ms and some after its request, comes halfway between two
# others. Where it meets a request, a later one is paid for twice.
APART_S = 0.021


class Seen(NamedTuple):
    """What a run's client saw, in seconds."""

    first_p50: float  # from the request to the first text
    first_p99: float
    late_p99: float  # how late the client's own loop was woken


def interval_s(streams: int, app: str) -> float:
    """Between two texts of a stream."""
    return max(INTERVAL_S, streams / MOST_TEXTS.get(app, MOST_TEXTS_BARE))


class Stream(asyncio.Protocol):
    """One request. Looks at the first text and at the end alone, to leave the server its core."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._head = b""
        self.first_s: float | None = None
        self.ended = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._begun = self._loop.time()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """One piece of the answer."""
        if self.first_s is None:
            self._head += data
            if b"data: " in self._head:
                self.first_s = self._loop.time() - self._begun
        if data.endswith(b"0\r\n\r\n"):
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """It has ended, in whatever way."""
        if not self.ended.done():
            self.ended.set_result(None)


Kind = TypeVar("Kind", bound=Stream)


def configuration(folder: Path) -> Path:
    """A door's configuration and its key, in that folder."""
    (folder / "api_key").write_text(KEY)
    access = routes.access(DEFAULT_VERSION, ("generate",))._asdict().items()
    listed = {kind: [route.split(" ", 1) for route in group] for kind, group in access}
    document = {"version": 1, **listed, "secrets": str(folder), "drain_file": "drain"}
    path = folder / "door.json"
    path.write_text(json.dumps(document))
    return path


def request(path: str, body: dict[str, Any]) -> bytes:
    """A POST with the benchmark's key."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def chat(chunks: int = CHUNKS, query: str = "") -> bytes:
    """What the application of this benchmark is asked: so many texts."""
    asked = {
        "model": "demo",
        "messages": [{"role": "user", "content": "a question of a few words " * 8}],
        "stream": True,
        "max_tokens": chunks,
    }
    return request(f"/v1/chat/completions{query}", asked)


async def load(port: int, streams: int, request: bytes, begin_s: float = BEGIN_S) -> Seen:
    """Every stream, from its request to its end; they begin within `begin_s`."""
    each, late = await ended(port, streams, partial(Stream, request), begin_s)
    p50, p99 = np.percentile(firsts(each), (50, 99))
    return Seen(float(p50), float(p99), float(np.percentile(late, 99)))


async def ended(
    port: int, streams: int, made: Callable[[], Kind], begin_s: float = BEGIN_S
) -> tuple[list[Kind], list[float]]:
    """So many streams that have begun within `begin_s` and ended; and by how many seconds this loop
    was woken too late, each time that it looked."""
    loop = asyncio.get_running_loop()
    late: list[float] = []
    watch = loop.create_task(_watch(late))
    begun, running = loop.time(), []
    for number in range(streams):
        await asyncio.sleep(max(0.0, begun + number * begin_s / streams - loop.time()))
        running.append(loop.create_task(loop.create_connection(made, "127.0.0.1", port)))
    each = [protocol for _, protocol in await asyncio.gather(*running)]
    await asyncio.gather(*(stream.ended for stream in each))
    watch.cancel()
    return each, late


async def in_turn(asked: list[tuple[int, bytes]], times: int) -> list[list[float]]:
    """Times to the first text of each of these requests, to their ports, in seconds: one and then
    another, `APART_S` apart, so many times, so that none waits for another."""
    loop = asyncio.get_running_loop()
    begun, running = loop.time(), []
    for number, (port, request) in enumerate(asked * times):
        await asyncio.sleep(max(0.0, begun + number * APART_S - loop.time()))
        opened = loop.create_connection(partial(Stream, request), "127.0.0.1", port)
        running.append(loop.create_task(opened))
    each = [protocol for _, protocol in await asyncio.gather(*running)]
    await asyncio.gather(*(stream.ended for stream in each))
    found = firsts(each)
    return [found[number :: len(asked)] for number in range(len(asked))]


def firsts(streams: Sequence[Stream]) -> list[float]:
    """From the request to the first text of each, in seconds."""
    times = [stream.first_s for stream in streams if stream.first_s is not None]
    if len(times) != len(streams):
        raise RuntimeError(f"{len(streams) - len(times)} of {len(streams)} had no text")
    return times


async def _watch(late: list[float]) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due += BEAT_S
        await asyncio.sleep(due - loop.time())
        late.append(loop.time() - due)
        due = max(due, loop.time() - BEAT_S)
