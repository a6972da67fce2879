"""HTTP as bytes, over a connection that is kept: no client library puts a request right."""

import contextlib
import socket
from typing import NamedTuple

PATIENCE_S = 60.0


class Answer(NamedTuple):
    """What came back; status 0 where the server hung up without an answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """One client. A connection that the server ends is opened anew for the next request."""

    def __init__(self, port):
        self._port = port
        self._socket = self._file = None

    def ask(self, request, *, method="GET"):
        """Sends bytes and reads one answer. The answer to a HEAD has no body."""
        while True:
            fresh = self._file is None
            if fresh:
                self._open()
            try:
                # A server that refuses may not read to the end.
                with contextlib.suppress(ConnectionError):
                    self._socket.sendall(request)
                answer = self._read(bodiless=method == "HEAD")
            except ConnectionError:
                answer = Answer(0, {}, b"")
            if answer.status == 0:
                self.close()
                if not fresh:
                    continue  # it had ended the former connection meanwhile
            return answer

    def read(self):
        """Reads one more answer: to a request that was sent together with the last one."""
        return self._read(bodiless=False)

    def send(self, request):
        """Sends bytes, over a connection of their own, and does not wait for an answer."""
        self._open()
        self._socket.sendall(request)

    def begin(self, request):
        """Sends bytes and reads the head of the answer, whose chunks are still to come."""
        self.send(request)
        return self._head()

    def close(self):
        if self._file is not None:
            self._file.close()
            self._socket.close()
        self._socket = self._file = None

    def _open(self):
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S)
        self._file = self._socket.makefile("rb")

    def _head(self):
        version, status, *_ = (*self._file.readline().split(b" ", 2), b"")
        headers = {}
        if not version.startswith(b"HTTP/1."):
            return 0, headers
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return int(status), headers

    def _read(self, *, bodiless):
        status, headers = self._head()
        if status == 100:
            return self._read(bodiless=bodiless)
        if status == 0 or bodiless or status in (101, 204, 304):
            body = b""
        else:
            body = self._body(headers)
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, headers, body)

    def _body(self, headers):
        if "content-length" in headers:
            return self._file.read(int(headers["content-length"]))
        if headers.get("transfer-encoding") == "chunked":
            return b"".join(self.chunks())
        return self._file.read()

    def chunks(self):
        """The chunks of an answer, as they come in."""
        while size := int(self._file.readline(), 16):
            yield self._file.read(size)
            self._file.readline()
        self._file.readline()
