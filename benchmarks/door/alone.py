"""One stream alone, run by hand from one of its waits to the next: no server, no socket, no time.

It is looked at by the clock (cold.py), and for the objects (objects.py) and the instructions
(instructions.py) that it takes. The latter are those of an emulated machine: nothing large is
imported here.
"""

import json
import math
import sys
import types
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from pathlib import Path
from typing import Any

from benchmarks.door.app import DONE, EVENT, TOLD, Told, Usage

ROOT = Path(__file__).resolve().parents[2]
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
        for _ in range(asked["max_tokens"]):
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


def guarded(app: App, configuration: Path) -> App:
    """The application with the door before it."""
    package = str(ROOT / "deploy" / "door")
    if package not in sys.path:
        sys.path.insert(0, package)
    from deployctl_door.configuration import load
    from deployctl_door.door import Door

    door = Door(app, load(configuration))
    # Files are looked at four times a second, however many requests: not in each of few.
    door._keys._checked = door._drain._checked = math.inf
    return door


def ways(configuration: Path) -> dict[str, App]:
    """What is compared, by its name in a table; the first is what others are held against."""
    bare, silent = engine(tells=True), engine(tells=False)
    return {
        "no door": bare,
        "a passage that does nothing": passage(bare),
        "a passage that counts": counting(bare),
        "the door": guarded(bare, configuration),
        "the door, of an engine that tells usage in the stream alone": guarded(
            silent, configuration
        ),
    }


def stream(app: App, key: str, texts: int) -> Generator[None, None, None]:
    """One stream of so many texts: `next` runs it to its next wait, which are before its head,
    before each text and before its end."""
    body = {"model": "demo", "messages": [{"role": "user", "content": "a few words " * 16}]}
    content = json.dumps({**body, "stream": True, "max_tokens": texts}).encode()
    path = "/v1/chat/completions"
    headers = [
        (b"host", b"x"), (b"authorization", f"Bearer {key}".encode()),
        (b"content-type", b"application/json"), (b"content-length", b"%d" % len(content)),
    ]  # fmt: skip
    scope: Message = {
        "type": "http", "asgi": {"spec_version": "2.4"}, "http_version": "1.1", "scheme": "http",
        "method": "POST", "path": path, "raw_path": path.encode(), "root_path": "",
        "query_string": b"", "state": {}, "headers": headers,
    }  # fmt: skip

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Message) -> None:
        pass

    async def served() -> None:
        await app(scope, receive, send)
        assert headers  # a server keeps its list, whatever becomes of the scope

    result: Generator[None, None, None] = served().__await__()
    return result
