"""Reads a stream to its end from the event loop, without waking a greenlet for each chunk.

Two steps: what has come is taken from all sockets that have something, with its time; only
then is it parsed. A thousand streams at once cost little more than their system calls.
"""

from collections.abc import Callable
from typing import Any

import gevent
from gevent.hub import Waiter
from geventhttpclient.response import HTTPConnectionClosed

from deployctl_loadtest.foreign import KIB, MAX_LINE, TooMuchError
from deployctl_loadtest.sse import Stream
from deployctl_loadtest.wire import StampedSocket

_READ = 1  # libev's
MOST_A_READ = 1 << 16  # bytes


class Follower:
    """Feeds what comes on a response's socket to the response, and its lines to a stream."""

    def __init__(self, raw: Any, stream: Stream, seen: Callable[[int], None]) -> None:
        self._raw = raw
        self._stream = stream
        self._seen = seen
        self._sock: StampedSocket = raw._sock
        hub = gevent.get_hub()
        self._loop = hub.loop
        self._ready = hub.loop.io(self._sock.fileno(), _READ)
        self._waiter = Waiter(hub)
        self._come: list[tuple[bytes, float]] = []
        self._over = False

    def run(self) -> None:
        """Returns when the stream is done or the response complete.

        Raises:
            OSError: the connection broke.
            HTTPParseError: it ended too early, or what came is no HTTP.
            TooMuchError: it is longer than any server's.
        """
        self._ready.start(self._take)
        try:
            self._waiter.get()
        finally:
            self._end()

    def _take(self) -> None:
        try:
            data = self._sock.take(MOST_A_READ)
        except BlockingIOError:
            return
        except Exception as error:
            self._fail(error)
            return
        at = self._sock.wire.came_at
        assert at is not None
        self._come.append((data, at))
        if not data:
            self._ready.stop()
        if len(self._come) == 1:
            self._loop.run_callback(self._digest)

    def _digest(self) -> None:
        if self._over:
            return
        come, self._come = self._come, []
        raw, stream = self._raw, self._stream
        try:
            for data, at in come:
                raw.feed(data)
                if raw.message_complete:
                    self._end()  # the socket is the pool's again
                lines(raw, stream, at, self._seen)
                if stream.done or raw.message_complete:
                    break
                if not data:
                    raise HTTPConnectionClosed("connection closed")
            else:
                return
        except Exception as error:
            self._fail(error)
            return
        self._end()
        self._waiter.switch(None)

    def _fail(self, error: Exception) -> None:
        self._end()
        self._raw.release()
        self._waiter.throw(error)

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._ready.stop()
            self._ready.close()


def lines(raw: Any, stream: Stream, at: float, seen: Callable[[int], None]) -> None:
    """Gives a stream the whole lines of what a response has read so far.

    Raises:
        TooMuchError: the stream is longer than any server's, or a line of it is.
    """
    buffer: bytearray = raw._body_buffer
    # What was there before the last read has no line's end, or it would not be there any more.
    end = buffer.rfind(b"\n", max(0, len(buffer) - MOST_A_READ)) + 1
    if len(buffer) - end > MAX_LINE:
        raise TooMuchError(f"a line of the stream is longer than {MAX_LINE // KIB:,} KiB")
    if end:
        before = len(stream.text_times)
        stream.block(bytes(buffer[:end]), at)
        del buffer[:end]
        if (chunks := len(stream.text_times) - before) > 0:
            seen(chunks)
