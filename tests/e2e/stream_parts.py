"""A client that is in the middle of an answer."""

import json
import threading
import urllib.request

from process_shell import PATIENCE_S


class Stream(threading.Thread):
    """A streamed answer that a client reads, token by token."""

    def __init__(self, port, tokens, *, model="tiny", key=None):
        super().__init__(daemon=True)
        body = {
            "model": model,
            "prompt": "Hello",
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": True,
        }
        self._request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {key or ''}"},
        )
        self.begun = threading.Event()
        self.lines, self.error = [], None
        self.start()
        assert self.begun.wait(PATIENCE_S), self.error

    def run(self):
        try:
            with urllib.request.urlopen(self._request, timeout=PATIENCE_S) as answer:
                for line in answer:
                    self.lines.append(line)
                    self.begun.set()
        except OSError as error:
            self.error = error

    @property
    def whole(self):
        self.join(PATIENCE_S)
        return self.error is None and self.lines[-2:] == [b"data: [DONE]\n", b"\n"]
