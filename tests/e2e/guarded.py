"""A real vLLM behind its door, as `up` starts it: one for all tests that ask it over HTTP.

Its keys are shared too: a test that changes them puts back what it found.
"""

import contextlib
import hashlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from deployctl.targets.process import procfs

START_S = 600.0  # half a minute on two idle cores
TEAM, REVOKED, EXPIRED = "the-key-of-a-team", "the-key-of-one-who-left", "the-key-of-a-guest"


def ring(*more):
    """A key file with these three, and more as (name, key)."""
    guest = ("guest", EXPIRED, {"expires": "2020-01-01T00:00:00+00:00"})
    named = [("team", TEAM, {}), ("left", REVOKED, {}), guest, *((*one, {}) for one in more)]
    keys = [
        {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), **given}
        for name, key, given in named
    ]
    return json.dumps({"version": 1, "keys": keys, "revoked": ["left"]}).encode()


def place(path, content):
    """Replaces a key file as is done: by another one, as a whole."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.replace(path)


def total(text, name, *labels):
    """The sum of a metric's samples that have these labels, on a page of metrics."""
    samples = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", text, re.MULTILINE)
    return sum(float(value) for given, value in samples if all(label in given for label in labels))


@contextlib.contextmanager
def stopped(pid):
    """A process that hangs meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self):
        return json.loads(self.body)


class Guarded:
    """A service on loopback whose clients need a key; revision 1 of it runs."""

    name = "guarded"
    key = "the-default-key-of-tests-4711"

    def __init__(self, folder, checkpoint, port, cache, *words):
        """`cache` is deployctl's, of engines; `words` are more of `up`."""
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.state = folder / "state"
        self.folder = self.state / "process" / self.name  # api_key, keys.json, operator_token
        self.environment = {
            **os.environ,
            "DEPLOYCTL_STATE_DIR": str(self.state),
            "DEPLOYCTL_CACHE_DIR": str(cache),
            "NO_COLOR": "1",
        }
        (folder / "key").write_text(self.key)
        up = ["up", "--model", checkpoint, "--gpu", "cpu", "--target", "process", "--port", port]
        up += ["--name", self.name, "--api-key-file", folder / "key", "--enforce-eager"]
        up += ["--request-log", "--request-limit", "seconds=2", "--request-limit", "bytes=1e6"]
        self._up = [*up, *words]
        self.model = self.up()["services"][0]["model"]
        self.operator_token = (self.folder / "operator_token").read_text()

    @property
    def run(self):
        """The folder of what runs."""
        return max((self.folder / "runs").iterdir())

    @property
    def secrets(self):
        """What the door reads."""
        return self.run / "secrets"

    def up(self, *words):
        """Starts it, as it was told first but for what is said here."""
        return self.deployctl(*self._up, *words)

    def deployctl(self, *words, code=0):
        """Runs a verb with the service's state; returns its answer."""
        done = subprocess.run(
            [sys.executable, "-m", "deployctl", *map(str, words), "--output", "json"],
            env=self.environment, capture_output=True, text=True, timeout=START_S,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout) if done.stdout else None

    def down(self):
        self.deployctl("down", self.name)

    def ask(self, method, path, body=None, *, key=None, **headers):
        """One request; `body` is sent as JSON. Headers by their names, with _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        if body is not None:
            sent["Content-Type"] = "application/json"
            body = json.dumps(body)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def complete(self, key, tokens=1, **more):
        """A completion of exactly so many tokens."""
        asked = {"model": self.model, "prompt": "Hello", "temperature": 0, "ignore_eos": True}
        return self.ask("POST", "/v1/completions", {**asked, "max_tokens": tokens, **more}, key=key)

    def figures(self):
        """The page of metrics: the engine's and its door's."""
        reply = self.ask("GET", "/metrics", key=self.operator_token)
        assert reply.status == 200
        return reply.body.decode()

    def running(self):
        """Requests that the engine works on."""
        return total(self.figures(), "vllm:num_requests_running")

    def core(self):
        """The process that has the model: the API server's child of that name."""
        (file,) = self.run.glob("engine.json")
        family = procfs.descendants(procfs.identify(json.loads(file.read_text())["pid"]))
        comm = {who.pid: Path(f"/proc/{who.pid}/comm").read_text() for who in family}
        (core,) = [pid for pid, name in comm.items() if name.startswith("VLLM::EngineCor")]
        return core

    def log(self):
        """What the engine and its door have written."""
        return (self.run / "engine.log").read_text()
