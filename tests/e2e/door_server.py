"""A fake engine behind the door, served by uvicorn as vLLM serves its own.

    python door_server.py CONFIGURATION PORT [--loop uvloop] [--http httptools] [--signals engine]

It answers as its request says: `max_tokens` chunks, `interval` seconds apart, or until there is
the file `until`. /metrics has what it saw. With `--signals engine`, SIGTERM is handled as by vLLM's
launcher: the event loop's own handler waits for requests under way, and then ends the server; with
`server`, by uvicorn.
"""

import argparse
import asyncio
import contextlib
import json
import signal
from pathlib import Path

import uvicorn
from starlette.middleware.cors import CORSMiddleware

from deployctl_door.configuration import load
from deployctl_door.door import Door

USAGE = {"prompt_tokens": 3, "completion_tokens": 2}


class Engine:
    """An ASGI application that streams, and counts what reaches it."""

    def __init__(self):
        self.seen = self.under_way = self.hung_up = self.bytes = 0
        self.paths = set()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            for answer in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
                await receive()
                await send({"type": answer})
            return
        if scope["path"] in ("/health", "/metrics"):
            await self._answer(send, self.metrics() if scope["path"] == "/metrics" else b"")
            return
        self.seen += 1
        self.paths.add(f"{scope['method']} {scope['path']}")
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.bytes += len(body)
        self.under_way += 1
        try:
            await self._work(json.loads(body or "{}"), receive, send)
        finally:
            self.under_way -= 1

    async def _work(self, asked, receive, send):
        if not asked.get("stream"):
            await self._answer(send, json.dumps({"usage": USAGE}).encode(), b"application/json")
            return
        gone = asyncio.create_task(self._gone(receive))
        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for number in range(asked.get("max_tokens", 1_000_000)):
            event = json.dumps({"choices": [{"delta": {"content": str(number)}}]})
            chunk = f"data: {event}\n\n".encode()
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if asked.get("interval"):
                await asyncio.wait([gone], timeout=asked["interval"])
            if gone.done():
                self.hung_up += 1
                return
            if asked.get("until") and Path(asked["until"]).exists():
                break
        gone.cancel()
        last = f"data: {json.dumps({'choices': [], 'usage': USAGE})}\n\ndata: [DONE]\n\n"
        await send({"type": "http.response.body", "body": last.encode()})

    async def _gone(self, receive):
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _answer(self, send, body, kind=b"text/plain"):
        head = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    def metrics(self):
        counts = {name: getattr(self, name) for name in ("seen", "under_way", "hung_up", "bytes")}
        lines = [f"fake_{name} {value}" for name, value in counts.items()]
        return "\n".join([*lines, *(f"# {path}" for path in sorted(self.paths)), ""]).encode()


class QuietServer(uvicorn.Server):
    """A server that leaves signals to the event loop, as vLLM's does."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


async def serve(engine, config, signals):
    if signals == "server":
        await uvicorn.Server(config).serve()
        return
    server = QuietServer(config)
    ending = asyncio.Event()
    task = asyncio.get_running_loop().create_task(server.serve())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    await ending.wait()
    while engine.under_way:
        await asyncio.sleep(0.01)
    server.should_exit = True
    await task


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("configuration", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--loop", default="uvloop")
    parser.add_argument("--http", default="httptools")
    parser.add_argument("--signals", default="engine")
    given = parser.parse_args()
    engine = Engine()
    every = {"allow_origins": ["*"], "allow_methods": ["*"], "allow_headers": ["*"]}
    app = Door(CORSMiddleware(engine, **every), load(given.configuration))
    config = uvicorn.Config(
        app, host="127.0.0.1", port=given.port, loop=given.loop, http=given.http,
        log_level="warning", access_log=False, backlog=2048,
    )  # fmt: skip
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(serve(engine, config, given.signals))


if __name__ == "__main__":
    main()
