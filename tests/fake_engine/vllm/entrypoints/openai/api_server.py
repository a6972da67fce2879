"""The fake engine's program. See the package's docstring for its switches."""

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from vllm.streaming import Engine


def _switch(name):
    return os.environ.get(f"FAKE_ENGINE_{name}", "")


def _family():
    """A child, and a grandchild whose parent is gone and that hides its environment."""
    deaf = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" if _switch("DEAF") else ""
    )
    sleep = f"{deaf}import time; time.sleep(600)"
    orphan = (
        "import subprocess, sys; "
        f"subprocess.Popen([sys.executable, '-c', {sleep!r}], env={{'PATH': '/usr/bin'}})"
    )
    subprocess.Popen([sys.executable, "-c", sleep])
    subprocess.run([sys.executable, "-c", orphan], check=True)


class _Api:
    """The engine's application: ASGI, so that what --middleware names can stand before it."""

    def __init__(self, engine, tool_parser=None):
        self._engine, self._tool_parser = engine, tool_parser

    async def __call__(self, scope, receive, send):
        model, path = self._engine.model, scope["path"]
        if path == "/metrics":
            return await _send(send, 200, "text/plain", self._engine.metrics().encode())
        if scope["method"] == "GET":
            if path == "/v1/models":
                return await _answer(send, 200, {"data": [{"id": model, "owned_by": "vllm"}]})
            return await _answer(send, 200 if path == "/health" else 404, {})
        try:
            asked = json.loads((await receive())["body"])
        except ValueError:  # what a stranger sends, to see whether it is let in
            return await _answer(send, 400, {"error": {"message": "no JSON"}})
        if path == "/tokenize":
            return await _answer(send, 404, {})
        if asked["model"] != model:
            return await _answer(send, 404, {"error": {"message": f"no model {asked['model']}"}})
        if asked.get("tools"):
            status, document = self._tool_call(asked)
            if status == 200 and asked.get("stream"):
                return await _send(send, 200, "text/event-stream", _streamed(document))
            return await _answer(send, status, document)
        if not asked.get("stream"):
            return await _answer(send, 200, {"choices": [{"text": " Paris"}]})
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for event in self._engine.stream(asked):
            await send({"type": "http.response.body", "body": event, "more_body": True})
        return await send({"type": "http.response.body"})

    def _tool_call(self, asked):
        """A call of the first tool: parsed, or as the model wrote it."""
        if self._tool_parser is None:
            said = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser'
            return 400, {"error": {"message": said}}
        call = {"name": asked["tools"][0]["function"]["name"], "arguments": '{"city": "Paris"}'}
        whole = {"id": "c1", "index": 0, "type": "function", "function": call}
        message = {"content": None, "tool_calls": [whole]}
        if _switch("TOOLS") == "text":
            message = {"content": f"<tool_call>{json.dumps(call)}</tool_call>", "tool_calls": []}
        return 200, {"choices": [{"message": message, "finish_reason": "stop"}]}


def _streamed(document):
    """A parsed call as one chunk of a stream; with a switch, one that repeats itself."""
    delta = {"delta": document["choices"][0]["message"]}
    twice = [delta] if _switch("TOOLS") == "twice" else []
    chunks = [delta, *twice, {"delta": {}, "finish_reason": "stop"}]
    events = [json.dumps({"choices": [chunk]}) for chunk in chunks]
    return "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()


async def _answer(send, status, document):
    await _send(send, status, "application/json", json.dumps(document).encode())


async def _send(send, status, kind, content):
    headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


class _Handler(BaseHTTPRequestHandler):
    """Asks the application, each request in a thread and an event loop of its own."""

    protocol_version = "HTTP/1.1"
    app = None
    timeout = 5  # s, of a connection that nobody uses, as vLLM has it

    def do_GET(self):
        self._keeps = bool(_switch("KEEPS"))
        self._chunks = "Transfer-Encoding" in self.headers
        self._unread = self._chunks or "Content-Length" in self.headers
        path, _, query = self.path.partition("?")
        scope = {
            "type": "http",
            "method": self.command,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(n.lower().encode(), v.encode()) for n, v in self.headers.items()],
        }
        with contextlib.suppress(ConnectionError):  # the client is gone
            asyncio.run(self.app(scope, self._receive, self._send))
        self.close_connection = self.close_connection or self._unread

    do_POST = do_PUT = do_GET  # noqa: N815  named by the standard library

    async def _receive(self):
        self._unread = False
        if self._chunks:
            body = b"".join(iter(self._chunk, b""))
        else:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        return {"type": "http.request", "body": body, "more_body": False}

    def _chunk(self):
        chunk = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return chunk

    async def _send(self, message):
        if message["type"] == "http.response.start":
            self.send_response(message["status"])
            names = set()
            for name, value in message["headers"]:
                names.add(name)
                self.send_header(name.decode(), value.decode())
            self._chunked = b"content-length" not in names
            if self._chunked:
                self.send_header("Transfer-Encoding", "chunked")
            if not self._keeps:
                self.send_header("Connection", "close")
            return self.end_headers()
        body, last = message.get("body", b""), not message.get("more_body", False)
        if self._chunked:
            chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
            body = chunk + (b"0\r\n\r\n" if last else b"")
        return self.wfile.write(body)

    def log_message(self, *_):
        return


def _behind(app, names):
    """The application, with each middleware before it: the last is the outermost."""
    for name in names:
        module, _, attribute = name.rpartition(".")
        app = getattr(importlib.import_module(module), attribute)(app)
    return app


class _Server(ThreadingHTTPServer):
    request_queue_size = 2048  # connections that wait to be taken, as vLLM has; Python's 5 cut more


def main():
    parser = argparse.ArgumentParser()
    for name in ("--model", "--host", "--served-model-name"):
        parser.add_argument(name)
    parser.add_argument("--port", type=int)
    parser.add_argument("--middleware", action="append", default=[])
    parser.add_argument("--tool-call-parser")
    parser.add_argument("--max-num-seqs", type=int, default=128)
    arguments, _ = parser.parse_known_args()
    if _switch("DEAF"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif os.getpid() == 1:  # of a container, which no signal ends by itself
        signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    print("INFO vLLM API server version 0.32.0 (fake_engine)", flush=True)
    if _switch("CHILDREN"):
        _family()
    print("INFO Starting to load model", arguments.model, flush=True)
    if chatter := _switch("CHATTER"):
        for _ in range(int(chatter) // 100):
            print("x" * 99)
    if code := _switch("DIE_LOADING"):
        print("ValueError: No available memory for the cache blocks. (fake_engine)", flush=True)
        sys.exit(int(code))
    while (hold := _switch("HOLD")) and not os.path.exists(hold):  # noqa: PTH110
        time.sleep(0.05)
    time.sleep(600 if _switch("SILENT") else float(_switch("LOADING_S") or 0))
    engine = Engine(arguments.served_model_name or arguments.model, arguments.max_num_seqs)
    _Handler.app = _behind(_Api(engine, arguments.tool_call_parser), arguments.middleware)
    server = _Server((arguments.host, arguments.port), _Handler)
    print("INFO Application startup complete.", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
