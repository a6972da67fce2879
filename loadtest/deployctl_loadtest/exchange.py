"""One streamed request through FastHttpUser's client: send, read, and say what happened.

Needs Locust. It reads lines from `response._response`, which is private to Locust: its
public `iter_lines` waits for 1024 bytes and makes every time wrong. A test against a
server with known delays guards it.
"""

import json
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import gevent
from geventhttpclient._parser import HTTPParseError
from geventhttpclient.response import HTTPConnectionClosed
from locust.contrib.fasthttp import FastHttpSession

from deployctl_loadtest.sample import Sample
from deployctl_loadtest.sse import Stream, error_text

_GRACE_S = 1.0  # how long a server may keep a stream open after [DONE]


class RunEnded(BaseException):
    """Raised with the sample of a request that the run's end cut short."""

    def __init__(self, sample: Sample) -> None:
        super().__init__()
        self.sample = sample


def prepare(client: FastHttpSession) -> None:
    """Makes the client hand over every answer as it is: errors and redirects too."""
    agent = client.client
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
    patience: float,
    seen: Callable[[int], None],
    due: float | None = None,
    reply: list[str] | None = None,
) -> Sample:
    """Sends one request and reads its stream to the end.

    Args:
        due: in open loop, when it was to be sent, on `clock`: its latencies count from then.
        reply: takes the answer's text, where a next turn needs it.
        epoch: the run's start on `clock`.
        patience: seconds after which the request is given up as timed out.
        seen: called with the number of text chunks as they come, for live progress.

    Raises:
        RunEnded: the greenlet was killed; the exception carries the sample so far.
    """
    stream = Stream(reply)
    sample = Sample(worker=worker, started_at_s=0.0, outcome="incomplete")
    timer = gevent.Timeout(patience)
    timer.start()
    started = clock()
    if due is not None:
        sample.scheduled_at_s, sample.lateness_s = due - epoch, started - due
    try:
        # catch_response keeps Locust from reporting the request when its headers arrive.
        response = client.post(path, data=body, headers=headers, stream=True, catch_response=True)
        if error := getattr(response, "error", None):
            raise error
        sample.http_status = response.status_code
        if response.status_code == 200:
            _read(response._response, stream, clock, seen)
            _judge(sample, stream)
            _fill(sample, stream, started, epoch, clock())
            timer.close()
            _drain(response._response)
            return sample
        sample.outcome, sample.error = "http_error", _refusal(response)
    except gevent.GreenletExit:
        _fill(sample, stream, started, epoch, clock())
        raise RunEnded(sample) from None
    except Exception as error:
        # Locust's client turns a timeout of ours into an error of its own.
        if timer.pending:
            answered = sample.http_status is not None
            sample.outcome, sample.error = _classify(error, answered=answered)
        else:
            sample.outcome, sample.error = "timeout", f"no end after {patience:g} s"
    except gevent.Timeout as timeout:
        if timeout is not timer:
            raise
        sample.outcome, sample.error = "timeout", f"no end after {patience:g} s"
    finally:
        timer.close()
    _fill(sample, stream, started, epoch, clock())
    return sample


def _read(
    raw: Any, stream: Stream, clock: Callable[[], float], seen: Callable[[int], None]
) -> None:
    at = clock()  # what came with the headers came now
    counted = 0
    while not stream.done:
        buffered = raw._body_buffer.find(b"\n") >= 0
        line = raw.readline(b"\n")
        if not buffered:
            at = clock()  # lines of one read share its time; the JSON is parsed after
        if not line:
            if rest := raw.read():
                stream.line(rest, at)
            break
        stream.line(line, at)
        if (chunks := len(stream.text_times)) > counted:
            seen(chunks - counted)
            counted = chunks
    stream.close()


def _drain(raw: Any) -> None:
    """Reads the end of the body behind [DONE]; without it the connection is not used again."""
    if not raw.message_complete:
        with suppress(HTTPParseError, OSError), gevent.Timeout(_GRACE_S, False):
            raw.read()


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
    text = f"{type(error).__name__}: {error}"[:200]
    if isinstance(error, TimeoutError):
        return "timeout", text
    if isinstance(error, (ConnectionRefusedError, socket.gaierror, ssl.SSLError)):
        return ("truncated" if answered else "refused"), text
    if answered or isinstance(error, (HTTPConnectionClosed, ConnectionResetError, BrokenPipeError)):
        return "truncated", text
    if isinstance(error, OSError):
        return "refused", text  # no route, network unreachable, too many open files
    return "truncated", text


def _refusal(response: Any) -> str:
    """Why a server said no, from the body of its answer."""
    body = (response.content or b"")[:2000]
    try:
        document = json.loads(body)
    except ValueError:
        return " ".join(body.decode("utf-8", "replace").split())[:200]
    return error_text(document) if isinstance(document, dict) else str(document)[:200]


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
        sample.chunk_gaps_s = [b - a for a, b in pairwise(times)]
        if sample.output_tokens is not None:
            sample.tokens_per_chunk = round(sample.output_tokens / len(times), 4)
        if sample.outcome == "ok":
            sample.e2e_s = times[-1] - begun
