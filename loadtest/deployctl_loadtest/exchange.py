"""One streamed request through FastHttpUser's client: send, read, and say what happened.

Needs Locust. It reads from `response._response`, which is private to Locust: its public
`iter_lines` waits for 1024 bytes and makes every time wrong. A test against a server with
known delays guards it.
"""

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import gevent
import geventhttpclient.client
from geventhttpclient._parser import HTTPParseError
from geventhttpclient.response import (
    HTTPConnectionClosed,
    HTTPProtocolViolationError,
    HTTPSocketPoolResponse,
)
from locust.contrib.fasthttp import FastHttpSession

from deployctl_loadtest.follow import MOST_A_READ, Follower, lines
from deployctl_loadtest.foreign import (
    MAX_FIELDS,
    MAX_HEAD,
    MAX_REFUSAL,
    TooMuchError,
    document,
    message,
)
from deployctl_loadtest.packed import Gaps
from deployctl_loadtest.sample import Sample
from deployctl_loadtest.sse import Stream, error_text
from deployctl_loadtest.wire import Deadline, StampedSocket, Wire, attach

_GRACE_S = 1.0  # how long a server may keep a stream open after [DONE]


class RunEnded(BaseException):
    """Raised with the sample of a request that the run's end cut short."""

    def __init__(self, sample: Sample) -> None:
        super().__init__()
        self.sample = sample


class _Response(HTTPSocketPoolResponse):  # type: ignore[misc]
    """One whose head has an end: its parser adds up headers, and interim answers, as they come."""

    _head = _fields = 0

    def _on_message_begin(self) -> None:
        self._count("", 1)
        super()._on_message_begin()

    def _on_header_field(self, string: str) -> None:
        self._count(string, 1)
        super()._on_header_field(string)

    def _on_header_value(self, string: str) -> None:
        self._count(string, 0)
        super()._on_header_value(string)

    def _count(self, string: str, fields: int) -> None:
        self._head += len(string)
        self._fields += fields
        if self._head > MAX_HEAD or self._fields > MAX_FIELDS:
            raise HTTPProtocolViolationError("headers of more than any server")


geventhttpclient.client.HTTPSocketPoolResponse = _Response  # it is looked up there by its name


def prepare(client: FastHttpSession, clock: Callable[[], float] = time.perf_counter) -> None:
    """Makes the client hand over every answer as it is, errors and redirects too, and note when
    its bytes go and come."""
    agent = client.client
    agent.wire = attach(agent, clock)
    agent.valid_response_codes = frozenset(range(100, 600))
    agent.redirect_response_codes = frozenset()


def exchange(
    client: FastHttpSession,
    path: str,
    body: bytes,
    headers: dict[str, str],
    *,
    worker: str,
    epoch: float,
    clock: Callable[[], float],
    timeout_s: float,
    seen: Callable[[int], None],
    due: float | None = None,
    reply: list[str] | None = None,
) -> Sample:
    """Sends one request and reads its stream to the end.

    Args:
        due: in open loop, when it was to be sent, on `clock`: its latencies count from then.
        reply: takes the answer's text, where a next turn needs it.
        epoch: the run's start on `clock`.
        timeout_s: seconds after it was sent, when the request is given up as timed out.
        seen: called with the number of text chunks as they come, for live progress.

    Raises:
        RunEnded: the greenlet was killed; the exception carries the sample so far.
    """
    stream = Stream(reply)
    sample = Sample(worker=worker, started_at_s=0.0, outcome="incomplete")
    wire: Wire = client.client.wire
    wire.sent_at = wire.came_at = None
    timer = Deadline(timeout_s, wire)
    timer.start()
    asked = clock()
    raw: Any = None

    def fill() -> None:
        # What Python does before the request is given to a connection is not the server's.
        started = wire.sent_at or asked
        if due is not None:
            sample.scheduled_at_s, sample.lateness_s = due - epoch, started - due
        _fill(sample, stream, started, epoch, clock())

    try:
        # catch_response keeps Locust from reporting the request when its headers arrive.
        response = client.post(path, data=body, headers=headers, stream=True, catch_response=True)
        if error := getattr(response, "error", None):
            raise error
        sample.http_status, raw = response.status_code, response._response
        if response.status_code == 200:
            _read(raw, stream, wire, seen)
            _judge(sample, stream)
            fill()
            timer.close()
            _drain(raw)
            return sample
        sample.outcome, sample.error = "http_error", _refusal(raw)
    except gevent.GreenletExit:
        fill()
        raise RunEnded(sample) from None
    except Exception as error:
        # Locust's client turns a timeout of ours into an error of its own.
        if isinstance(error, TooMuchError):
            sample.outcome, sample.error = "stream_error", str(error)
        elif timer.pending:
            answered = sample.http_status is not None
            sample.outcome, sample.error = _classify(error, answered=answered)
        else:
            sample.outcome, sample.error = "timeout", f"no end after {timeout_s:g} s"
    except gevent.Timeout as timeout:
        if timeout is not timer:
            raise
        sample.outcome, sample.error = "timeout", f"no end after {timeout_s:g} s"
    finally:
        timer.close()
        if raw is not None:
            # Of an answer that was not read to its end: the next request would wait for its place.
            raw.release()
    fill()
    return sample


def _read(raw: Any, stream: Stream, wire: Wire, seen: Callable[[int], None]) -> None:
    at = wire.came_at or wire.clock()  # what came with the headers
    lines(raw, stream, at, seen)
    if not stream.done and not raw.message_complete:
        if isinstance(raw._sock, StampedSocket):
            Follower(raw, stream, seen).run()
            at = wire.came_at or at
        else:
            at = _read_lines(raw, stream, wire.clock, seen)
    if not stream.done and (rest := bytes(raw._body_buffer)):
        stream.line(rest, at)  # a last line without its end
    stream.close()


def _read_lines(
    raw: Any, stream: Stream, clock: Callable[[], float], seen: Callable[[int], None]
) -> float:
    """Reads in this greenlet, as TLS must be. Returns when it read last."""
    at = clock()
    while not stream.done and not raw.message_complete:
        data = raw._sock.recv(MOST_A_READ)
        at = clock()  # lines of one read share its time; they are parsed after
        try:
            raw.feed(data)
        except BaseException:
            raw.release()
            raise
        lines(raw, stream, at, seen)
        if not data and not raw.message_complete:
            raise HTTPConnectionClosed("connection closed")
    return at


def _drain(raw: Any) -> None:
    """Reads the end of the body behind [DONE]; without it the connection is not used again."""
    if not raw.message_complete:
        with suppress(HTTPParseError, OSError), gevent.Timeout(_GRACE_S, False):
            raw.read(MAX_REFUSAL)  # of an end that has no end, so much


def _judge(sample: Sample, stream: Stream) -> None:
    if stream.error is not None:
        sample.outcome, sample.error = "stream_error", stream.error
    elif not stream.events:
        sample.outcome, sample.error = "stream_error", "the answer holds no event"
    elif not stream.finished:
        sample.outcome, sample.error = "truncated", "the stream ended without saying so"
    elif not stream.text_times:
        sample.outcome, sample.error = "empty", "no text in the answer"
    else:
        sample.outcome = "ok"


def _classify(error: Exception, *, answered: bool) -> tuple[Any, str]:
    """Outcome and message for what the HTTP client raised."""
    text = message(f"{type(error).__name__}: {error}")
    if isinstance(error, TimeoutError):
        return "timeout", text
    if isinstance(error, (ConnectionRefusedError, socket.gaierror, ssl.SSLError)):
        return ("truncated" if answered else "refused"), text
    if answered or isinstance(error, (HTTPConnectionClosed, ConnectionResetError, BrokenPipeError)):
        return "truncated", text
    if isinstance(error, OSError):
        return "refused", text  # no route, network unreachable, too many open files
    return "truncated", text


def _refusal(raw: Any) -> str:
    """Why a server said no, from the first of its answer's body; the rest is not read."""
    body = raw.read(MAX_REFUSAL)
    try:
        said = document(body)
    except ValueError:
        return message(body[:2000].decode("utf-8", "replace"))
    return error_text(said) if isinstance(said, dict) else message(str(said))


def _fill(sample: Sample, stream: Stream, started: float, epoch: float, ended: float) -> None:
    times = stream.text_times
    sample.started_at_s = started - epoch
    sample.duration_s = ended - started
    sample.response_id = stream.response_id
    sample.finish_reason = stream.finish_reason
    sample.input_tokens, sample.output_tokens = stream.input_tokens, stream.output_tokens
    if times:
        begun = started - (sample.lateness_s or 0.0)
        sample.ttft_s = times[0] - begun
        sample.chunk_gaps_s = Gaps(b - a for a, b in pairwise(times))
        if sample.output_tokens is not None:
            sample.tokens_per_chunk = round(sample.output_tokens / len(times), 4)
        if sample.outcome == "ok":
            sample.e2e_s = times[-1] - begun
