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

import argparse
import hashlib
import http.client
import json
import os
import re
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
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {error or type(error).__name__}"
    return None


def progress(
    port: int, timeout_s: float, stall_s: float, token_file: Path, *, ready: bool = False
) -> "dict[str, tuple[float, list[str]]]":
    """What its metrics say of an engine that answers, as `reading` has it.

    Raises:
        Stalled: it has requests, and has made no progress for `stall_s`.
        Dead: its metrics are not to be had with this token, or what was seen cannot be kept.
        OSError, HTTPException: as `get`.
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
    """The body of a GET on loopback; no proxy of the environment comes between.

    Raises:
        Dead: the status is any but 200.
        OSError, HTTPException: there is no answer, or none of HTTP.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
    finally:
        connection.close()
    if answer.status != 200:
        raise Dead(f"{path} says {answer.status}")
    return text


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

    `state` is what was seen before, if by the same run of the engine.

    Raises:
        Dead: it cannot be written.
    """
    try:
        document = json.loads(state.read_text())
        old = document["engines"] if document["run"] == run else {}
    except (OSError, ValueError, TypeError, KeyError):
        old = {}
    engines = {}
    longest = (0.0, 0.0)
    for engine, (requests, marks) in seen.items():
        before = old.get(engine, {})
        since = min(now, before["since"]) if before.get("marks") == marks else now
        engines[engine] = {"marks": marks, "since": since}
        longest = max(longest, (requests, now - since), key=lambda each: each[1])
    new = state.with_name(f"{state.name}.{os.getpid()}")
    try:
        new.write_text(json.dumps({"run": run, "engines": engines}))
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ready", action="store_true", help="readiness: running requests alone")
    parser.add_argument("port", type=int)
    parser.add_argument("timeout_s", type=float, help="of one answer")
    parser.add_argument("stall_s", type=float, help="without progress; 0: do not look")
    parser.add_argument("token_file", type=Path)
    given = parser.parse_args(words)
    return problem(given.port, given.timeout_s, given.stall_s, given.token_file, ready=given.ready)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
