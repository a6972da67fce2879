"""The door under uvicorn, with a fake engine behind it, and a client that writes bytes itself."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import ports

PROGRAM = Path(__file__).with_name("door_server.py")
DOOR = Path(__file__).resolve().parents[2] / "deploy" / "door"
CHAT = "/v1/chat/completions"
KEY, TOKEN = "the-key-of-the-test", "the-token-of-the-operator"


class Server:
    """A server process, and what it is told."""

    def __init__(self, folder, *options, **configuration):
        self.folder = folder
        secrets = folder / "secrets"
        secrets.mkdir(parents=True)
        if not configuration.get("keyless"):
            (secrets / "api_key").write_text(KEY)
        (secrets / "operator_token").write_text(TOKEN)
        document = {
            "version": 1,
            "user": [["POST", CHAT], ["GET", "/v1/models"]],
            "operator": [["GET", "/metrics"]],
            "probe": [["GET", "/health"]],
            "secrets": "secrets",
            "drain_file": "drain",
            "drain_after_s": 0.5,
            **configuration,
        }
        (folder / "door.json").write_text(json.dumps(document))
        self.port = ports.free()
        self._log = (folder / "log").open("w")
        words = [sys.executable, PROGRAM, folder / "door.json", str(self.port), *options]
        environment = {**os.environ, "PYTHONPATH": str(DOOR)}
        self.process = subprocess.Popen(words, env=environment, stdout=self._log, stderr=self._log)
        self.until(self._answers)

    def _answers(self):
        assert self.process.poll() is None, self.log()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def until(self, condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.log()
            time.sleep(0.01)

    def log(self):
        return (self.folder / "log").read_text()

    def connect(self):
        return Connection(self.port)

    def metrics(self):
        with self.connect() as connection:
            connection.ask("GET", "/metrics", key=TOKEN)
            return connection.answer()[2].decode()

    def figures(self):
        """What the fake engine and the door count."""
        return {n: float(v) for n, v in re.findall(r"^([a-z]\S+) (\S+)$", self.metrics(), re.M)}

    def reached(self):
        """Which routes have reached the fake engine."""
        return set(re.findall(r"^# (?!HELP|TYPE)(.*)$", self.metrics(), re.M))

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._log.close()


class Connection:
    """A connection that is kept."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def ask(self, method, target, *, key=KEY, body=None, http="1.1", headers=()):
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {target} HTTP/{http}", "Host: x", f"Content-Length: {len(content)}"]
        lines += ["Content-Type: application/json"] if body is not None else []
        lines += [f"Authorization: Bearer {key}"] if key else []
        self.send("\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + content)

    def head(self):
        """Status and headers; None where the server hung up instead."""
        line = self._file.readline()
        if not line:
            return None
        headers = {}
        while each := self._file.readline().strip():
            name, _, value = each.decode("latin-1").partition(": ")
            headers[name.lower()] = value
        return int(line.split()[1]), headers

    def part(self):
        """The next part of a chunked body."""
        part = self._file.read(int(self._file.readline(), 16))
        self._file.readline()
        return part

    def answer(self):
        """Status, headers and body; None where the server hung up instead."""
        head = self.head()
        if head is None:
            return None
        status, headers = head
        if "content-length" in headers:
            return status, headers, self._file.read(int(headers["content-length"]))
        return status, headers, b"".join(iter(self.part, b""))

    def is_closed(self):
        return self._file.read(1) == b""
