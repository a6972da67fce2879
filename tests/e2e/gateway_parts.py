"""Users of a service behind the gateway: with a connection each request, or one for all."""

import contextlib
import http.client
import json
import select
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from tests.e2e import http2

from deployctl.errors import TargetError
from deployctl.targets.gateway import Gateway
from deployctl.targets.gatewayfiles import FolderFiles
from deployctl.targets.process.caddy import Caddy
from process_shell import PATIENCE_S, until


def needs_caddy():
    """Skips where there is no Caddy, or an old one."""
    try:
        Caddy(Path("/nowhere")).check()
    except TargetError as error:
        pytest.skip(error.message)


@contextlib.contextmanager
def gateway_in(folder, *services):
    """A gateway of processes, until these services have left it."""
    needs_caddy()
    made = Gateway(FolderFiles(folder), Caddy(folder))
    try:
        yield made
    finally:
        for name in services:
            made.leave(name)
            made.end_unused(name)


# Of an engine's answer: its first lines, and its end.
TURNED_AWAY = b"HTTP/1.1 503 no\r\nx-deployctl-refused: not-begun\r\n"
ANSWERED = b"HTTP/1.1 200 OK\r\n"
_END = b"Content-Length: 0\r\nConnection: close\r\n\r\n"


class BareEngine:
    """Has one request a connection; of its answer, which has no body, `_answer` gives the first
    lines, or none."""

    def __init__(self, port=0):
        self._server = socket.create_server(("127.0.0.1", port), backlog=100)
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def end(self):
        with contextlib.suppress(OSError):  # it has ended before
            self._server.shutdown(socket.SHUT_RDWR)  # who waits in accept is woken
        self._server.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._tell, args=(connection,), daemon=True).start()

    def _tell(self, connection):
        with connection, connection.makefile("rb") as reader, contextlib.suppress(OSError):
            line = reader.readline()
            headers = http.client.parse_headers(reader)
            body = reader.read(int(headers["Content-Length"] or 0))
            connection.sendall(self._answer(line, headers, body) + _END)
            connection.shutdown(socket.SHUT_RDWR)


class Asked(NamedTuple):
    """One request of a user."""

    began: float  # by time.monotonic
    seconds: float
    problem: str  # empty: it had a whole answer
    told: bool = False  # of the problem, as the API or HTTP tells it: see `_one`


class Askers:
    """Threads that ask until `_ends` is set."""

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


class Users(Askers):
    """Ask all the time, until they are told to end. `redials`: before a connection that was kept is
    used, they look whether it has been closed, as httpx and urllib3 do. A gateway closes what is
    idle when it takes another configuration."""

    def __init__(
        self, url, *, new=2, kept=2, tokens=8, model="tiny", key=None, ca=None, redials=False,
        prompt="Hello",
    ):  # fmt: skip
        parts = urlsplit(url)
        self._place = parts.hostname, parts.port, f"{parts.path}/v1/completions"
        self._trust = ssl.create_default_context(cafile=ca) if parts.scheme == "https" else None
        body = {"model": model, "prompt": prompt, "max_tokens": tokens, "ignore_eos": True}
        self._bodies = [json.dumps({**body, "stream": stream}) for stream in (False, True)]
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        self._redials, self._ends = redials, threading.Event()
        self.asked, self.begun = [], time.monotonic()
        self._threads = [
            threading.Thread(target=self._ask, args=(number, number >= new), daemon=True)
            for number in range(new + kept)
        ]

    @property
    def failed(self):
        return [each for each in self.asked if each.problem]

    @property
    def untold(self):
        """Those that failed with no clean error."""
        return [each for each in self.failed if not each.told]

    @property
    def longest_s(self):
        return max(each.seconds for each in self.asked)

    def outage(self, kill):
        """What it comes to that the proxy is killed under them: how many requests fail, and for how
        many seconds none is answered. None fails that began after one was answered again."""
        failed, seen = len(self.failed), len(self.asked)
        until(lambda: len(self.asked) > seen + 8)
        kill()
        died = time.monotonic()
        back = min(until(lambda: self._served_since(died)))
        seen = len(self.asked)
        until(lambda: len(self.asked) > seen + 20)
        broken = self.failed[failed:]
        assert broken
        assert max(each.began for each in broken) < back
        return len(broken), round(back - died, 1)

    def _served_since(self, moment):
        """When those requests began that have an answer, of all that began after a moment."""
        return [each.began for each in list(self.asked) if each.began > moment and not each.problem]

    def _ask(self, number, keeps):
        host, port, _ = self._place
        connection = None
        while not self._ends.is_set():
            if connection is None:
                kind = {"timeout": PATIENCE_S}
                connection = (
                    http.client.HTTPSConnection(host, port, context=self._trust, **kind)
                    if self._trust
                    else http.client.HTTPConnection(host, port, **kind)
                )
            if self._redials and connection.sock and _is_readable(connection.sock):
                connection.close()  # http.client dials again by itself
            began = time.monotonic()
            try:
                problem, told = self._one(connection, self._bodies[len(self.asked) % 2])
            except (OSError, http.client.HTTPException) as error:
                problem, told = repr(error), False
            self.asked.append(Asked(began, time.monotonic() - began, problem, told))
            if problem or not keeps:
                connection.close()
                connection = None
            self._ends.wait(0.02)
        if connection is not None:
            connection.close()

    def _one(self, connection, body):
        """The problem of an answer, and whether its client is told: by an error of the API's shape,
        or, once a stream has begun, by an event with one, or an end that HTTP says is none."""
        connection.request("POST", self._place[2], body, self._headers)
        answer = connection.getresponse()
        streams, good = '"stream": true' in body, answer.status == 200
        try:
            text = answer.read()
        except http.client.IncompleteRead as cut:
            return f"{answer.status}, cut: {cut.partial[-80:]!r}", streams and good
        problem = f"{answer.status} {text[-200:]!r}"
        if not good:
            return problem, answer.status in (500, 502, 503) and is_error(text)
        if streams and any(is_error(each[6:]) for each in text.split(b"\n\n")):
            return problem, True
        whole = b"choices" in text and (not streams or text.endswith(b"data: [DONE]\n\n"))
        return "" if whole else problem, False


def is_error(text):
    """Whether it is an error in the shape of OpenAI's."""
    try:
        error = json.loads(text).get("error")
    except (ValueError, AttributeError):
        return False
    return isinstance(error, dict) and bool(error.get("message") and error.get("type"))


class SlowUsers(Askers):
    """Ask by HTTP/2, all the time, until they are told to end; each has a connection a request, and
    sends a body of no length, late. A gateway keeps nothing of these, to send it again."""

    def __init__(self, port, ca, *, users=24):
        self._port, self._trust = port, ssl.create_default_context(cafile=ca)
        self._trust.set_alpn_protocols(http2.ALPN)
        self._ends, self.told = threading.Event(), []  # whether each had 200
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(users)]

    def _ask(self):
        body = json.dumps({"model": "tiny", "prompt": "Hello"}).encode()
        kind = {"content-type": "application/json"}
        while not self._ends.is_set():
            plain = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S)
            secured = self._trust.wrap_socket(plain, server_hostname="localhost")
            with contextlib.closing(http2.Connection(secured)) as connection:
                name = f"localhost:{self._port}"
                stream = connection.begin("/v1/completions", name, **kind)
                time.sleep(0.3)
                connection.send(stream, body)
                self.told.append(connection.is_ok(stream))


def _is_readable(socket):
    """Whether something came unasked: its end."""
    return bool(select.select([socket], [], [], 0)[0])


def answer(url, path, *, method="GET", body=None, headers=None):
    """Status, headers and text of one answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request(method, parts.path + path, body, headers or {})
        got = connection.getresponse()
        return got.status, got.headers, got.read().decode()
