"""A fake engine: streams to a schedule that is known, and breaks in every way that is known.

    python fake_streaming_engine.py LOG

Prints its port. The model's name picks the scenario; `mixed` goes through MIXED in turn.
For each answer LOG gets a line with the response's id, when the request was read, when each
text event was handed to the kernel, and how late this process was woken meanwhile, so that a
test can hold the client's times against what was really sent, however late a busy machine was.
"""

import asyncio
import json
import sys
import time
from collections import deque
from contextlib import nullcontext
from pathlib import Path

TTFT, ITL, TOKENS = 0.100, 0.020, 20
BEAT = 0.010  # s between two looks at how late this process is woken

MIXED = (
    "steady",
    "four_a_chunk",
    "split",
    "coalesced",
    "no_done",
    "no_usage",
    "crlf",
    "closed_properly",
    "done_and_hangs",
    "http_500",
    "http_503",
    "error_in_stream",
    "garbage",
    "truncated",
    "closed_early",
    "closed_silently",
    "empty",
    "not_a_stream",
    "silent",
)


# `stalls`: from STALL[0] to STALL[1] seconds after its first request nothing is answered.
STALL = (1.0, 3.0)
# `four_at_once`: 4 answers at a time, each 0.48 s: 8.3 a second; the others wait.
OTHERS = ("stalls", "four_at_once")


class Answer:
    """One streamed answer, and the times of its text."""

    def __init__(self, writer, number, scenario, completions):
        self.writer = writer
        self.id = f"fake-{number}-{scenario}"
        self.completions = completions
        self.received = time.perf_counter()
        self.begin = None  # where not at once
        self.texts = []
        self.a_text = 4 if scenario == "four_a_chunk" else 1  # tokens
        self.chunked = not scenario.startswith("closed_")

    async def head(self, status="200 OK", kind="text/event-stream", length=None):
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}"]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        elif self.chunked:
            lines.append("Transfer-Encoding: chunked")
        else:
            lines.append("Connection: close")
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await self.writer.drain()

    async def raw(self, data):
        framed = b"%x\r\n%s\r\n" % (len(data), data) if self.chunked else data
        self.writer.write(framed)
        await self.writer.drain()

    async def end(self):
        if self.chunked:
            self.writer.write(b"0\r\n\r\n")
            await self.writer.drain()

    def event(self, text=None, finish=None, **more):
        choice = {"index": 0, "finish_reason": finish}
        if self.completions:
            choice["text"] = text or ""
        else:
            choice["delta"] = {} if text is None else {"content": text}
        return {"id": self.id, "choices": [choice], **more}

    async def send(self, event, sep=b"\n\n"):
        await self.raw(b"data: " + json.dumps(event, ensure_ascii=False).encode() + sep)

    async def text(self, text="word ", sep=b"\n\n"):
        self.texts.append(time.perf_counter())
        await self.send(self.event(text), sep)

    async def role(self):
        first = self.event()
        if not self.completions:
            first["choices"][0]["delta"] = {"role": "assistant", "content": ""}
        await self.send(first)

    async def tail(self, tokens, usage=True, done=True):
        await self.send(self.event(finish="length"))
        if usage:
            count = {"prompt_tokens": 50, "completion_tokens": tokens}
            await self.send({"id": self.id, "choices": [], "usage": count})
        if done:
            await self.raw(b"data: [DONE]\n\n")


async def play(answer, scenario):
    """Plays a scenario; False if the connection is to be cut without an ending."""
    if scenario in ("http_500", "http_503"):
        body = json.dumps({"error": {"message": f"told to say {scenario}"}}).encode()
        await answer.head(scenario[5:] + " No", "application/json", len(body))
        answer.writer.write(body)
        return True
    if scenario == "closed_silently":
        return False
    if scenario == "silent":
        await asyncio.sleep(30)
        return False
    if scenario == "not_a_stream":
        body = json.dumps({"id": answer.id, "choices": [{"message": {"content": "hi"}}]}).encode()
        await answer.head("200 OK", "application/json", len(body))
        answer.writer.write(body)
        return True
    await answer.head()
    start = answer.begin or answer.received
    await answer.role()  # at once: no token, and must not be taken for one

    async def until(seconds):
        await asyncio.sleep(max(0.0, start + seconds - time.perf_counter()))

    if scenario == "four_a_chunk":
        for index in range(TOKENS // 4):
            await until(TTFT + 4 * ITL * index)
            await answer.text("one two three four ")
        await answer.tail(TOKENS)
    elif scenario == "split":
        for index in range(TOKENS):
            await until(TTFT + ITL * index)
            data = (
                b"data: " + json.dumps(answer.event("h\u00e9 \u65e5"), ensure_ascii=False).encode()
            )
            cut = data.index("\u65e5".encode()) + 1  # within a character, within the JSON
            await answer.raw(data[:cut])
            await until(TTFT + ITL * index + 0.002)
            answer.texts.append(time.perf_counter())
            await answer.raw(data[cut:] + b"\n\n")
        await answer.tail(TOKENS)
    elif scenario == "coalesced":
        for index in range(TOKENS // 2):
            await until(TTFT + 2 * ITL * index)
            now = time.perf_counter()
            answer.texts += [now, now]
            data = b"data: " + json.dumps(answer.event("word ")).encode() + b"\n\n"
            await answer.raw(data + data)
        await answer.tail(TOKENS)
    elif scenario == "empty":
        await until(TTFT)
        await answer.send(answer.event("", finish="stop"))
        await answer.tail(0)
    elif scenario in ("error_in_stream", "garbage", "truncated", "closed_early"):
        for index in range(3):
            await until(TTFT + ITL * index)
            await answer.text()
        if scenario == "error_in_stream":
            await answer.send({"error": {"message": "the engine died", "code": 500}})
        elif scenario == "garbage":
            await answer.raw(b"data: {not json\n\n")
        else:
            return False
        await answer.raw(b"data: [DONE]\n\n")
    elif scenario == "crlf":
        await answer.raw(b": keep-alive\r\n\r\nevent: message\r\nid: 1\r\n")
        for index in range(TOKENS):
            await until(TTFT + ITL * index)
            await answer.text(sep=b"\r\n\r\n")
        await answer.tail(TOKENS)
    else:
        for index in range(TOKENS):
            await until(TTFT + ITL * index)
            await answer.text()
        await answer.tail(TOKENS, usage=scenario != "no_usage", done=scenario != "no_done")
        if scenario == "done_and_hangs":
            await asyncio.sleep(2)  # longer than the client waits for a body's end
    await answer.end()
    return answer.chunked


class Engine:
    """Serves the scenarios, and counts as vLLM would: each token when it is made."""

    def __init__(self, log):
        self.log = log
        self.number = 0
        self.ended = 0  # tokens of answers that ended, whichever way
        self.under_way = set()
        self.due = time.perf_counter()  # the next beat
        self.beats = deque(maxlen=round(120 / BEAT))  # when, and how late
        self.first = None
        self.places = asyncio.Semaphore(4)

    async def beat(self):
        while True:
            self.due = time.perf_counter() + BEAT
            await asyncio.sleep(BEAT)
            self.beats.append((self.due, time.perf_counter() - self.due))

    def late(self, since):
        """The longest that this process was woken late since then, in seconds."""
        lates = [late for at, late in self.beats if at >= since]
        return max(0.0, time.perf_counter() - self.due, *lates)

    def tokens(self):
        return self.ended + sum(len(one.texts) * one.a_text for one in self.under_way)

    async def connection(self, reader, writer):
        try:
            while await self.request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def request(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *fields = head.split("\r\n")
        headers = dict(f.lower().split(": ", 1) for f in fields if ": " in f)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = line.split(" ")[1]
        if path == "/v1/models":
            names = ("mixed", *MIXED, *OTHERS)
            data = [{"id": name, "owned_by": "fake"} for name in names]
            return self.plain(writer, "application/json", json.dumps({"data": data}))
        if path == "/metrics":
            kinds = {"prompt": 50 * self.number, "generation": self.tokens()}
            text = "".join(
                f"# TYPE vllm:{kind}_tokens_total counter\nvllm:{kind}_tokens_total {value}.0\n"
                for kind, value in kinds.items()
            )
            return self.plain(writer, "text/plain", text)
        if headers.get("accept-encoding") != "identity" or not path.startswith("/v1/"):
            return self.plain(writer, "text/plain", "no", "400 Bad Request")
        asked = json.loads(body)
        scenario = asked["model"]
        if scenario == "mixed":
            scenario = MIXED[self.number % len(MIXED)]
        answer = Answer(writer, self.number, scenario, path.endswith("/v1/completions"))
        self.number += 1
        self.under_way.add(answer)
        if scenario == "stalls":
            await self.stall()
            scenario = "steady"
        places = self.places if scenario == "four_at_once" else nullcontext()
        try:
            async with places:
                if scenario == "four_at_once":
                    answer.begin = time.perf_counter()
                goes_on = await play(answer, scenario)
        finally:
            self.under_way.remove(answer)
            self.ended += len(answer.texts) * answer.a_text
            told = {"id": answer.id, "received": answer.received, "texts": answer.texts}
            told["late"] = self.late(answer.received - BEAT)
            told["asked"] = asked
            self.log.write(json.dumps(told) + "\n")
            self.log.flush()
        return goes_on

    async def stall(self):
        now = time.perf_counter()
        self.first = self.first or now
        if STALL[0] <= now - self.first < STALL[1]:
            await asyncio.sleep(self.first + STALL[1] - now)

    def plain(self, writer, kind, text, status="200 OK"):
        data = text.encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        return True


async def main(path):
    """Serves until it is killed."""
    with Path(path).open("w") as log:
        engine = Engine(log)
        server = await asyncio.start_server(engine.connection, "127.0.0.1", 0)
        beating = asyncio.create_task(engine.beat())
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.gather(server.serve_forever(), beating)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
