"""What the mock server sends, and when: the schedule of each stream. Pure.

A stream's schedule is a list of writes, each due so long after the request was read. Streams
of one scenario differ only in their number, in a phase of up to one gap (so that they do not
all speak at once), and in whether they are among those that go wrong. Every text event
carries its stream's number, its own, and the time at which it was sent.
"""

import dataclasses
import json
from functools import cache
from typing import Literal

TTFT_S = 0.3  # to the first text, before the phase
STALL_S = 0.5
ROLE_EARLY_S = 0.05  # so long before the first text the role chunk comes
USAGE_LATE_S = 0.1  # so long after the last text the usage chunk comes, in `usage_last`
SPLIT_S = 0.003  # between the two writes of a split event
ACCEPT_S = 0.2  # how long a slow listener leaves a connection alone
PROMPT_TOKENS = 16

NAMES = (
    "one_token",
    "four_tokens",
    "role_first",
    "usage_last",
    "split",
    "coalesced",
    "stall",
    "truncated",
    "stream_error",
    "http_503",
    "slow_accept",
    "open_loop",
)
FAULTY = ("truncated", "stream_error", "http_503")
_EVERY = {"stall": 100, **dict.fromkeys(FAULTY, 10)}  # one in so many streams

Ending = Literal["keep", "cut"]


@dataclasses.dataclass(frozen=True)
class Write:
    """One write to a socket. `data` takes the stream's number (i) and the time (t)."""

    after_s: float  # from when the request was read, before the phase
    data: bytes
    completes: tuple[int, ...] = ()  # text events that are whole with it
    role: bool = False  # holds the role-only chunk

    def render(self, stream: int, at: float) -> bytes:
        """The bytes to send at `at`, on the monotonic clock."""
        return self.data % {b"i": stream, b"t": at}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A stream's writes in their order, and what they amount to."""

    writes: tuple[Write, ...]
    tokens: int  # as its usage chunk says; 0 where that never comes
    fault: str | None = None  # the scenario's name, where the stream must count as failed
    ending: Ending = "keep"


def is_special(scenario: str, stream: int) -> bool:
    """Whether the stream is one of those that stall or fail. The first never is: some
    clients send a request to see whether the server is there."""
    every = _EVERY.get(scenario)
    return every is not None and stream % every == 2


def phase(stream: int) -> float:
    """Where in a gap the stream's events lie, 0 to 1: spread evenly, whatever the count."""
    return stream * 0.6180339887 % 1.0


@cache
def plan(scenario: str, special: bool, itl_s: float, chunks: int) -> Plan:
    """The schedule of a stream of `chunks` text events, `itl_s` apart."""
    if scenario == "http_503" and special:
        return Plan((Write(0.05, _refusal()),), 0, scenario)
    per = 4 if scenario == "four_tokens" else 1
    begin = TTFT_S + (ACCEPT_S if scenario == "slow_accept" else 0.0)
    due = [begin + itl_s * k for k in range(chunks)]
    writes = [Write(begin - 2 * ROLE_EARLY_S, _HEAD)]
    if scenario == "role_first":
        writes.append(Write(begin - ROLE_EARLY_S, _frame(_event(_chunk(role=True))), role=True))
    if scenario == "stall" and special:
        due = [at + (STALL_S if k >= chunks // 2 else 0.0) for k, at in enumerate(due)]
    if scenario in ("truncated", "stream_error") and special:
        due = due[: chunks // 2]
    writes += _texts(scenario, due, per)
    last = due[-1]
    if scenario == "truncated" and special:
        # The connection goes a gap later, so that the last event is not lost with it.
        return Plan((*writes, Write(last + itl_s, b"")), 0, scenario, "cut")
    if scenario == "stream_error" and special:
        said = _event({"error": {"message": "told to fail", "type": "mock", "code": 500}})
        return Plan((*writes, Write(last + itl_s, _frame(said + _DONE) + _END)), 0, scenario)
    tokens = chunks * per
    usage = _event(_usage(tokens))
    if scenario == "usage_last":
        writes.append(Write(last + USAGE_LATE_S, _frame(usage)))
        writes.append(Write(last + USAGE_LATE_S + itl_s, _frame(_DONE) + _END))
    else:
        writes.append(Write(last + 0.002, _frame(usage + _DONE) + _END))
    return Plan(tuple(writes), tokens)


def _texts(scenario: str, due: list[float], per: int) -> list[Write]:
    events = [_event(_chunk(k, per, last=k == len(due) - 1, wide=scenario == "split"))
              for k in range(len(due))]  # fmt: skip
    if scenario == "coalesced":
        return [
            Write(
                due[k], _frame(b"".join(events[k : k + 2])), tuple(range(k, k + 2))[: len(due) - k]
            )
            for k in range(0, len(due), 2)
        ]
    if scenario != "split":
        return [Write(at, _frame(events[k]), (k,)) for k, at in enumerate(due)]
    writes = []
    for k, at in enumerate(due):
        cut = events[k].index(_WIDE) + 1  # inside a character, which is inside the JSON
        first, second = events[k][:cut], events[k][cut:]
        if k % 2:  # two chunks of HTTP's …
            parts = _frame(first), _frame(second)
        else:  # … or two writes of one
            whole = _frame(events[k])
            cut = whole.index(_WIDE) + 1
            parts = whole[:cut], whole[cut:]
        writes += [Write(at - SPLIT_S, parts[0]), Write(at, parts[1], (k,))]
    return writes


_WIDE = "日".encode()
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_DONE = b"data: [DONE]\n\n"
_END = b"0\r\n\r\n"
_ID = "\x00i"  # stand for the placeholders until the JSON is made
_TIME = "\x00t"


def _chunk(
    number: int = 0, per: int = 1, *, last: bool = False, wide: bool = False, role: bool = False
) -> dict[str, object]:
    if role:
        delta = {"role": "assistant", "content": ""}
    else:
        text = f"{'日' if wide else ''}{_ID}.{number:04d}.{_TIME} " + "and " * (per - 1)
        delta = {"content": text}
    choice = {
        "index": 0,
        "delta": delta,
        "logprobs": None,
        "finish_reason": "length" if last else None,
    }
    return {**_about(), "choices": [choice]}


def _usage(tokens: int) -> dict[str, object]:
    count = {
        "prompt_tokens": PROMPT_TOKENS,
        "total_tokens": PROMPT_TOKENS + tokens,
        "completion_tokens": tokens,
    }
    return {**_about(), "choices": [], "usage": count}


def _about() -> dict[str, object]:
    return {
        "id": f"chatcmpl-{_ID}",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "mock",
    }


def _event(document: dict[str, object]) -> bytes:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).replace("%", "%%")
    for mark, value in ((_ID, "%(i)06d"), (_TIME, "%(t)014.6f")):
        text = text.replace(json.dumps(mark)[1:-1], value)
    return b"data: " + text.encode() + b"\n\n"


def _frame(data: bytes) -> bytes:
    """A chunk of HTTP's chunked encoding: all values have a fixed width."""
    return b"%x\r\n%s\r\n" % (len(data % {b"i": 0, b"t": 0.0}), data)


def _refusal() -> bytes:
    body = b'{"error":{"message":"told to refuse","type":"mock","code":503}}'
    return (
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
