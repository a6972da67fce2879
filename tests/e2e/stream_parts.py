"""Clients that are in the middle of an answer."""

import json
import threading
import time
import urllib.error
import urllib.request

from process_shell import PATIENCE_S


class Stream(threading.Thread):
    """A streamed answer that a client reads, token by token."""

    def __init__(self, port, tokens, *, model="tiny", key=None, below=""):
        super().__init__(daemon=True)
        body = {
            "model": model,
            "prompt": "Hello",
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": True,
        }
        self._request = urllib.request.Request(
            f"http://127.0.0.1:{port}{below}/v1/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {key or ''}"},
        )
        self.begun = threading.Event()
        self.lines, self.error = [], None
        self.start()
        assert self.begun.wait(PATIENCE_S)
        assert self.lines, self.error

    def run(self):
        try:
            with urllib.request.urlopen(self._request, timeout=PATIENCE_S) as answer:
                for line in answer:
                    self.lines.append(line)
                    self.begun.set()
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            self.error = error
            self.begun.set()

    @property
    def whole(self):
        self.join(PATIENCE_S)
        return self.error is None and self.lines[-2:] == [b"data: [DONE]\n", b"\n"]


class Relay(threading.Thread):
    """A streamed answer at any moment, until one is refused: the next begins amid the last."""

    def __init__(self, port, tokens, **options):
        super().__init__(daemon=True)
        self._next = lambda: Stream(port, tokens, **options)
        self._tokens = tokens
        self.streams = [self._next()]
        self.start()

    def run(self):
        while self.streams[-1].is_alive() or self.streams[-1].whole:
            if len(self.streams[-1].lines) > self._tokens / 2:
                try:
                    self.streams.append(self._next())
                except AssertionError:  # refused: the door has closed
                    return
            time.sleep(0.05)

    @property
    def whole(self):
        """Whether all that had begun came to their ends."""
        self.join(PATIENCE_S)
        return not self.is_alive() and all(stream.whole for stream in self.streams)
