"""A server on loopback that lies: what it does with a connection is a function."""

import contextlib
import json
import socket
import threading
import time
import zlib

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
REFUSED = b"HTTP/1.1 500 Oh\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
BLOCK = 1 << 16


class Liar:
    """Listens until the block ends. `lie(send, method, path)` is called for each request; `send`
    says how much has gone over this connection. `sent` is the most that went over one."""

    def __init__(self, lie):
        self._lie, self._open = lie, set()
        self.sent, self.asked = 0, []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_):
        # close() alone does not wake who waits in accept() or send()
        for one in (self._server, *list(self._open)):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _listen(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self._open.add(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        gone = 0

        def send(data):
            nonlocal gone
            connection.sendall(data)
            gone += len(data)
            self.sent = max(self.sent, gone)
            return gone

        with (
            contextlib.suppress(OSError, ValueError),
            connection,
            connection.makefile("rb") as file,
        ):
            line = file.readline().split()
            length = 0
            while header := file.readline().strip():
                name, _, value = header.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            self.asked.append((line[1].decode(), file.read(length)))
            self._lie(send, line[0].decode(), line[1].decode())


def answer(body, status=b"200 OK", more=b""):
    """Sends a whole answer."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n%s\r\n"
    return lambda send, *_: send(head % (status, len(body), more) + body)


def drip(begin, each=b" ", every_s=0.02):
    """A little, again and again, and never the end."""

    def lie(send, *_):
        send(begin)
        while send(each) is not None:
            time.sleep(every_s)

    return lie


def flood(begin, block):
    """As much as is taken."""

    def lie(send, *_):
        send(begin)
        while send(block):
            pass

    return lie


def bomb(size):
    """Zeros, packed: a thousandth of what they become."""
    packer = zlib.compressobj(9, wbits=31)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20))
    return packed + packer.flush()
