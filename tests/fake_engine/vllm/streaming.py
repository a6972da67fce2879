"""Streamed answers of the fake engine, a token at a time, so many at once and no more."""

import contextlib
import json
import os
import threading
import time

_BUCKETS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Engine:
    """What is common to all requests: how many are worked on, and what was observed."""

    def __init__(self, model, at_once):
        self.model = model
        self.token_s = float(os.environ.get("FAKE_ENGINE_TOKEN_S") or 0.01)
        self.dies_after = int(os.environ.get("FAKE_ENGINE_DIE_AFTER") or 0)
        self._room = threading.Semaphore(at_once)
        self._lock = threading.Lock()
        self._first = []
        self._tokens = self._asked = self._running = 0

    def stream(self, asked):
        """Yields the events of one answer, each when it is due."""
        begun = time.monotonic()
        chat = "messages" in asked
        count = int(asked.get("max_tokens") or asked.get("max_completion_tokens") or 16)
        with self._counted("_asked"), self._room, self._counted("_running"):
            for number in range(count):
                time.sleep(self.token_s)
                if number == 0:
                    self._saw(time.monotonic() - begun)
                piece = {"delta": {"content": " a"}} if chat else {"text": " a"}
                with self._lock:
                    self._tokens += 1
                yield _event({"choices": [{"index": 0, **piece}]})
        usage = {"prompt_tokens": 8, "completion_tokens": count, "total_tokens": 8 + count}
        yield _event({"choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"

    @contextlib.contextmanager
    def _counted(self, name):
        """Counts a request for as long as it lasts, or its client stays."""
        self._add(name, 1)
        try:
            yield
        finally:
            self._add(name, -1)

    def _add(self, name, number):
        with self._lock:
            setattr(self, name, getattr(self, name) + number)

    def _saw(self, seconds):
        with self._lock:
            self._first.append(seconds)
            if self.dies_after and len(self._first) >= self.dies_after:
                print("RuntimeError: the fake engine dies under load", flush=True)
                os._exit(1)

    def metrics(self):
        """As vLLM exports them, as far as deployctl reads them."""
        with self._lock:
            first, tokens = list(self._first), self._tokens
            running, waiting = self._running, self._asked - self._running
        label = f'model_name="{self.model}"'
        name = "vllm:time_to_first_token_seconds"
        lines = [f"# TYPE {name} histogram"]
        for bound in (*_BUCKETS, float("inf")):
            edge = "+Inf" if bound == float("inf") else f"{bound}"
            lines.append(f'{name}_bucket{{{label},le="{edge}"}} {sum(s <= bound for s in first)}')
        lines += [f"{name}_sum{{{label}}} {sum(first)}", f"{name}_count{{{label}}} {len(first)}"]
        for counter, value in (("generation_tokens", tokens), ("prompt_tokens", 8 * len(first))):
            lines.append(f"# TYPE vllm:{counter} counter")
            lines.append(f"vllm:{counter}_total{{{label}}} {value}")
        for gauge, value in (("running", running), ("waiting", waiting)):
            lines.append(f"# TYPE vllm:num_requests_{gauge} gauge")
            lines.append(f"vllm:num_requests_{gauge}{{{label}}} {value}")
        return "\n".join(lines) + "\n"


def _event(document):
    return f"data: {json.dumps(document)}\n\n".encode()
