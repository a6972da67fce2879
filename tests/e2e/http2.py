"""A client of HTTP/2 that does no more than it is told: streams of one connection, by hand.

Of an answer it knows whether its status is 200: that is entry 8 of the static table (RFC 7541).
"""

import struct

ALPN = ["h2"]
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS = 0x0, 0x1, 0x3, 0x4
_END_STREAM, _ACK, _END_HEADERS = 0x1, 0x1, 0x4
_OK = 0x88


class Connection:
    """Over a socket that has agreed on h2."""

    def __init__(self, secured):
        self._socket, self._next = secured, 1
        self._reader = secured.makefile("rb")
        secured.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b""))

    def close(self):
        self._reader.close()
        self._socket.close()

    def begin(self, path, authority, **headers):
        """A stream of a POST whose body is to come."""
        names = {":method": "POST", ":scheme": "https", ":path": path, ":authority": authority}
        block = b"".join(_field(*each) for each in {**names, **headers}.items())
        stream, self._next = self._next, self._next + 2
        self._socket.sendall(_frame(_HEADERS, _END_HEADERS, stream, block))
        return stream

    def send(self, stream, body, *, end=True):
        self._socket.sendall(_frame(_DATA, _END_STREAM if end else 0, stream, body))

    def is_ok(self, stream):
        """Whether it is answered with 200; None: with nothing, for it was reset or all closed."""
        while frame := self._read():
            kind, flags, its, payload = frame
            if kind == _SETTINGS and not flags & _ACK:
                self._socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _HEADERS and its == stream:
                return payload[0] == _OK
            elif kind == _RESET and its == stream:
                return None
        return None

    def _read(self):
        head = self._reader.read(9)
        if len(head) < 9:
            return None
        stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
        return head[3], head[4], stream, self._reader.read(int.from_bytes(head[:3], "big"))


def _frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def _field(name, value):
    """As text, and in no table."""
    return b"\x00" + b"".join(bytes([len(each)]) + each.encode() for each in (name, value))
