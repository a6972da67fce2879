"""A fake engine that is too slow: it takes every connection, and serves few at a time.

    python engine.py PLACES SECONDS

Prints its port. Answers are of 8 tokens, spread evenly over SECONDS; so it serves PLACES ÷
SECONDS requests a second, in the order in which they came, and never refuses one.
"""

import asyncio
import json
import resource
import sys

TOKENS = 8
_EVENT = b'data: {"id": "%d", "choices": [{"index": 0, "delta": {"content": "word "}}]}\n\n'
_END = (
    b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}\n\n'
    b'data: {"choices": [], "usage": {"prompt_tokens": 128, "completion_tokens": 8}}\n\n'
    b"data: [DONE]\n\n"
)


class Engine:
    """Serves `places` at a time."""

    def __init__(self, places: int, seconds: float) -> None:
        self._places = asyncio.Semaphore(places)
        self._gap = seconds / TOKENS
        self._served = 0

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, as long as it likes."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        size = int(line[15:])
                await reader.readexactly(size)
                if head.startswith(b"POST "):
                    async with self._places:
                        await self._answer(writer)
                else:
                    self._other(writer, head.split(b" ")[1])
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        self._served += 1
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(TOKENS):
            await asyncio.sleep(self._gap)
            self._chunk(writer, _EVENT % self._served)
        self._chunk(writer, _END)
        self._chunk(writer, b"")
        await writer.drain()

    @staticmethod
    def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    @staticmethod
    def _other(writer: asyncio.StreamWriter, path: bytes) -> None:
        data = json.dumps({"data": [{"id": "slow", "owned_by": "fake"}]}).encode()
        status = b"200 OK" if path == b"/v1/models" else b"404 Not Found"
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(data), data))


async def main() -> None:
    """Serves until it is killed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    engine = Engine(int(sys.argv[1]), float(sys.argv[2]))
    server = await asyncio.start_server(engine.connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
