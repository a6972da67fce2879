"""What people write who stream with Locust: HttpUser, `requests`, `iter_lines`. A peer.

    SAMPLES=FILE REQUESTS=N locust -f locust_plain.py --headless …

Written as well as such a thing can be: text chunks only, stamped before the JSON is parsed,
the usage chunk's tokens. Failures are what Locust and `requests` take for such.
"""

import json
import os
import time
from typing import Any

import gevent
from locust import HttpUser, constant_pacing, events, task

_BODY = {
    "model": "mock",
    "messages": [{"role": "user", "content": "word " * 16}],
    "max_tokens": 64,
    "stream": True,
    "stream_options": {"include_usage": True},
}
_rows: list[dict[str, Any]] = []
_begun = _ended = 0


class Plain(HttpUser):  # type: ignore[misc]
    """Asks, reads, asks again; or, with a rate, paces itself."""

    wait_time = constant_pacing(float(os.environ.get("PACE", 0)))

    @task  # type: ignore[untyped-decorator]
    def ask(self) -> None:
        """One request."""
        global _begun, _ended
        if _begun >= int(os.environ["REQUESTS"]):
            time.sleep(3600)
        _begun += 1
        started = time.monotonic()
        row: dict[str, Any] = {"started": started, "stamps": [], "id": None, "tokens": None}
        row["failed"] = True
        _rows.append(row)
        try:
            with self.client.post(
                "/v1/chat/completions", json=_BODY, stream=True, catch_response=True
            ) as response:
                if response.status_code == 200:
                    self._read(response, row)
                    row["failed"] = False
        finally:
            _ended += 1
            if _ended >= int(os.environ["REQUESTS"]):
                gevent.spawn(self.environment.runner.quit)  # it ends this greenlet too

    def _read(self, response: Any, row: dict[str, Any]) -> None:
        for line in response.iter_lines():
            now = time.monotonic()
            if not line.startswith(b"data:") or line == b"data: [DONE]":
                continue
            event = json.loads(line[5:])
            row["id"] = row["id"] or event.get("id")
            if event.get("usage"):
                row["tokens"] = event["usage"]["completion_tokens"]
            for choice in event.get("choices", ()):
                if choice["delta"].get("content"):
                    row["stamps"].append(now)


@events.test_stop.add_listener  # type: ignore[untyped-decorator]
def _write(**_: Any) -> None:
    with open(os.environ["SAMPLES"], "w", encoding="utf-8") as file:  # noqa: PTH123
        file.writelines(json.dumps(row) + "\n" for row in _rows)
