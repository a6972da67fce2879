"""The fake engine's program. See the package's docstring for its switches."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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


class _Handler(BaseHTTPRequestHandler):
    model = ""
    engine = None

    def do_GET(self):
        if self.path == "/v1/models":
            return self._answer(200, {"data": [{"id": self.model, "owned_by": "vllm"}]})
        if self.path == "/metrics":
            return self._send(200, "text/plain", self.engine.metrics().encode())
        return self._answer(200 if self.path == "/health" else 404, {})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = os.environ.get("VLLM_API_KEY")
        if key and self.headers.get("Authorization") != f"Bearer {key}":
            return self._answer(401, {"error": "Unauthorized"})
        if self.path == "/tokenize":
            return self._answer(404, {})
        if asked["model"] != self.model:
            return self._answer(404, {"error": {"message": f"no model {asked['model']}"}})
        if asked.get("stream"):
            return self._stream(asked)
        return self._answer(200, {"choices": [{"text": " Paris"}]})

    def _stream(self, asked):
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.engine.stream(
                asked, lambda data: self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            )
            self.wfile.write(b"0\r\n\r\n")

    def _answer(self, status, document):
        self._send(status, "application/json", json.dumps(document).encode())

    def _send(self, status, kind, content):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        return


def main():
    parser = argparse.ArgumentParser()
    for name in ("--model", "--host", "--served-model-name"):
        parser.add_argument(name)
    parser.add_argument("--port", type=int)
    parser.add_argument("--max-num-seqs", type=int, default=128)
    arguments, _ = parser.parse_known_args()
    if _switch("DEAF"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
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
    _Handler.model = arguments.served_model_name or arguments.model
    _Handler.engine = Engine(_Handler.model, arguments.max_num_seqs)
    server = ThreadingHTTPServer((arguments.host, arguments.port), _Handler)
    print("INFO Application startup complete.", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
