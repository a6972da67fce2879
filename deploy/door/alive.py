"""The one look at an engine's progress: it answers, and where it has requests they move.

/health says 200 while the engine behind it hangs. So an engine that has requests, and whose
counters have stood still for STALL_S seconds, fails; 0 turns that off. Standard library alone:

    python3 -I -S alive.py [--ready] PORT TIMEOUT_S STALL_S TOKEN_FILE

Liveness counts requests that run or wait. An engine that hung while it was idle says for ever that
it has none: then those count that the door passed on and that nobody has begun to answer, which is
progress only once the oldest of them is another. Readiness counts those that run alone: a queue
that does not move, behind none that run, is no reason to send requests elsewhere. TOKEN_FILE holds
the door's probe token, which is new at each start of an engine; what was seen is kept beside it.
"""

import hashlib
import json
import os
import re
import socket
import sys
import time
from pathlib import Path

RUNNING, WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
# Whatever grows or changes while a request is worked on: the cache fills during a long prefill.
MOVES = re.compile(
    r"vllm:(prompt_tokens_total|generation_tokens_total|iteration_tokens_total_(sum|count)|"
    r"request_success_total|num_preemptions_total|kv_cache_usage_perc|gpu_cache_usage_perc)"
)
# Of the door. Of several API servers, each tells its own: then such a hang may stay unseen.
UNANSWERED = re.compile(r"^deployctl_door_requests_unanswered (\d+)$", re.MULTILINE)
OLDEST = re.compile(r"^deployctl_door_oldest_unanswered_timestamp_seconds (\S+)$", re.MULTILINE)
SAMPLE = re.compile(r"^(vllm:\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?(?:\r\n|\Z)")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,15}) *(?=\r\n|\Z)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked *(?=\r\n|\Z)", re.IGNORECASE)
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[^\r\n]*)?\r\n")
MOST_HEAD_BYTES, MOST_BYTES = 1 << 16, 16 << 20
# Between two looks: longer, and all was frozen (`docker pause`), which is no time to have moved in.
GAP_S = 120.0
ENGINE = re.compile(r'(?:^|,)engine="(\d+)"')  # one of several, where there is data parallelism


class Dead(Exception):  # noqa: N818  what it says is a state, and its text the reason
    """Why an engine counts as dead, or as not ready."""


class Stalled(Dead):
    """It has requests, and they do not move."""


def problem(
    port: int, timeout_s: float, stall_s: float, token_file: Path, *, ready: bool = False
) -> str | None:
    """Why the engine on a port of loopback is not alive, or not ready; None where it is."""
    try:
        get(port, "/health", timeout_s)
        if stall_s:
            progress(port, timeout_s, stall_s, token_file, ready=ready)
    except Dead as dead:
        return str(dead)
    except OSError as error:
        return f"no answer: {error or type(error).__name__}"
    return None


def progress(
    port: int, timeout_s: float, stall_s: float, token_file: Path, *, ready: bool = False
) -> "dict[str, tuple[float, list[str]]]":
    """What its metrics say of an engine that answers, as `reading` has it.

    Raises:
        Stalled: it has requests, and has made no progress for `stall_s`.
        Dead: its metrics are not to be had with this token, or what was seen cannot be kept.
        OSError: as `get`.
    """
    token = _token(token_file)
    seen = reading(get(port, "/metrics", timeout_s, token), ready=ready)
    state = token_file.with_name("ready.json" if ready else "alive.json")
    run = hashlib.sha256(token.encode()).hexdigest()
    requests, stood = stalled(state, seen, run, time.monotonic())
    if stood >= stall_s:
        raise Stalled(f"{requests:.0f} requests and no progress for {stood:.0f} s")
    return seen


def get(port: int, path: str, timeout_s: float, token: str = "") -> str:
    """The body of a GET on loopback, which is there within `timeout_s` in all. By a plain socket:
    to load an HTTP client of Python's takes longer than all else here.

    Raises:
        Dead: the status is any but 200.
        OSError: there is no answer, or none of HTTP.
    """
    until = time.monotonic() + timeout_s
    shown = f"Authorization: Bearer {token}\r\n" if token else ""
    asked = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{shown}Connection: close\r\n\r\n"
    answer = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        connection.sendall(asked.encode("ascii"))
        while not (complete := _complete(answer, path)):
            connection.settimeout(max(until - time.monotonic(), 0.001))
            piece = connection.recv(1 << 18)
            answer += piece
            if not piece or len(answer) > MOST_BYTES:
                complete = _complete(answer, path, ended=not piece)
                break
    if complete is None:
        raise OSError("no whole answer of HTTP" if piece else "it broke off")
    return complete[0].decode("utf-8", "replace")


def _complete(answer: bytearray, path: str, *, ended: bool = False) -> "tuple[bytes] | None":
    """The body of an answer, once all of it is there. `ended`: nothing more comes.

    Raises:
        Dead: the status is any but 200.
        OSError: it is no HTTP.
    """
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        if len(head) > MOST_HEAD_BYTES or not head.startswith(b"HTTP/1."[: len(head)]):
            raise OSError("an answer that is no HTTP")
        return None
    status = STATUS.match(head)
    if status is None:
        raise OSError("an answer that is no HTTP")
    if status[1] != b"200":
        raise Dead(f"{path} says {status[1].decode()}")
    if CHUNKED.search(head):
        return _unchunked(body)
    length = LENGTH.search(head)
    if length is None:
        return (bytes(body),) if ended else None
    return (bytes(body[: int(length[1])]),) if len(body) >= int(length[1]) else None


def _unchunked(body: bytearray) -> "tuple[bytes] | None":
    found: list[bytes] = []
    at = 0
    while chunk := CHUNK.match(body, at):
        size = int(chunk[1], 16)
        if size == 0:
            return (b"".join(found),)
        at = chunk.end() + size + 2
        found.append(bytes(body[chunk.end() : at - 2]))
        if at > len(body):
            return None
    if len(body) - at > 64:
        raise OSError("an answer that is no HTTP")
    return None


def reading(text: str, *, ready: bool) -> "dict[str, tuple[float, list[str]]]":
    """The requests of each engine that has any, and what should move there, from /metrics.

    Under `door`, where none has any: those that were passed on and are not answered.
    """
    work: dict[str, float] = {}
    marks: dict[str, list[str]] = {}
    for name, labels, value in SAMPLE.findall(text):
        found = ENGINE.search(labels)
        engine = found[1] if found else "0"
        if name == RUNNING or (name == WAITING and not ready):
            try:
                work[engine] = work.get(engine, 0.0) + float(value)
            except ValueError:
                raise Dead(f"/metrics has no number for {name}") from None
        elif MOVES.fullmatch(name):
            marks.setdefault(engine, []).append(value)
    busy = {engine: (count, marks.get(engine, [])) for engine, count in work.items() if count > 0}
    unanswered = UNANSWERED.search(text)
    if ready or busy or unanswered is None or unanswered[1] == "0":
        return busy
    return {"door": (float(unanswered[1]), OLDEST.findall(text))}


def stalled(
    state: Path, seen: "dict[str, tuple[float, list[str]]]", run: str, now: float
) -> "tuple[float, float]":
    """Requests of the engine that has stood still the longest, and for how many seconds.

    `state` is what was seen before, if by the same run of the engine. Time in which nobody looked,
    longer than GAP_S, does not count.

    Raises:
        Dead: it cannot be written.
    """
    try:
        document = json.loads(state.read_text())
        old = document["engines"] if document["run"] == run else {}
        gap = now - document["at"]
        frozen = gap if gap > GAP_S else 0.0
        stood = {engine: (each["marks"], each["since"] + frozen) for engine, each in old.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        stood = {}
    engines = {}
    longest = (0.0, 0.0)
    for engine, (requests, marks) in seen.items():
        before, since = stood.get(engine, (None, now))
        since = min(now, since) if before == marks else now
        engines[engine] = {"marks": marks, "since": since}
        longest = max(longest, (requests, now - since), key=lambda each: each[1])
    new = state.with_name(f"{state.name}.{os.getpid()}")
    try:
        new.write_text(json.dumps({"run": run, "at": now, "engines": engines}))
        new.replace(state)
    except OSError as error:
        raise Dead(f"{state}: cannot be written: {error.strerror}") from error
    return longest


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise Dead(f"{path}: the door's probe token cannot be read: {why}") from error
    if not re.fullmatch(r"[\w-]+", token, re.ASCII):
        raise Dead(f"{path}: holds no probe token")
    return token


def main(words: "list[str]") -> str | None:
    """Looks as the words of the command line say."""
    *options, port, timeout_s, stall_s, token_file = words
    if options not in ([], ["--ready"]):
        return f"unknown: {' '.join(options)}"
    ready = bool(options)
    return problem(int(port), float(timeout_s), float(stall_s), Path(token_file), ready=ready)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
