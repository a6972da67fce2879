"""One run: a mock server on one core, a client on another, and what came of it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.fidelity import judge, truth
from benchmarks.fidelity.clients import Client, Load, environment
from benchmarks.fidelity.cpu import Watch
from benchmarks.fidelity.mock import PRIORITY
from benchmarks.fidelity.scenarios import STALL_S, TTFT_S

ROOT = Path(__file__).parents[2]
MOST_CHUNKS_PER_S = 18_000  # of all streams together, unless less is asked for
SHORTEST_ITL_S = 0.02
CHUNKS = 64
OPEN_LOOP_RATE = 100.0  # requests a second
LOG = "client.log"
_ERROR = re.compile(r"[\w.]*(Error|Exception)\b: ?")
_TIMEOUT_S = 150.0


def gap(scenario: str, streams: int, most: int = MOST_CHUNKS_PER_S) -> float:
    """Seconds between chunks of a stream: 20 ms, or longer where there are many streams, so that
    all together are at most so many a second."""
    if scenario == "open_loop":
        streams = round(OPEN_LOOP_RATE * 2)
    writes = 2 if scenario == "split" else 1
    return max(SHORTEST_ITL_S, streams * writes / most)


def load(scenario: str, streams: int, url: str, gap_s: float) -> Load:
    """Two rounds of every stream, and five of a single one."""
    seconds = TTFT_S + CHUNKS * gap_s + STALL_S
    if scenario == "open_loop":
        requests = round(OPEN_LOOP_RATE * 8)
        return Load(url, streams, requests, CHUNKS, OPEN_LOOP_RATE, 8 + seconds)
    rounds = 5 if streams < 8 else 2
    return Load(url, streams, rounds * streams, CHUNKS, None, rounds * seconds)


@contextlib.contextmanager
def first_in_line(file: Path = Path("/proc/self/autogroup")) -> Iterator[None]:
    """Without it a nice value counts inside the autogroup alone; where it is not allowed, so be it.

    Others live in the same autogroup, so it gets its own priority back. A process without one
    (a kernel without autogroups, some containers) has no such file, or an empty one.
    """
    try:
        said = file.read_text().split()
        if said:
            file.write_text(f"{PRIORITY}")
    except OSError:
        said = []
    try:
        yield
    finally:
        if said:
            with contextlib.suppress(OSError):
                file.write_text(said[-1])


def run(
    client: Client,
    python: str,
    scenario: str,
    streams: int,
    folder: Path,
    cores: tuple[int, int] | None,
    most: int = MOST_CHUNKS_PER_S,
) -> dict[str, Any]:
    """Runs it, and returns a result that says `valid` or why not. `cores`: client's, server's;
    `most`: chunks a second of all streams together."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "mock.jsonl"
    apart = gap(scenario, streams, most)
    with first_in_line(), _mock(scenario, apart, log, cores) as url:
        work = load(scenario, streams, url, apart)
        failure, watch = _client(client, python, work, folder, cores)
    result: dict[str, Any] = {"client": client.name, "scenario": scenario, "streams": streams}
    result["gap_asked_ms"] = round(apart * 1000, 3)
    try:
        known = truth.read(log)
        account = client.account(folder)
    except (OSError, ValueError, KeyError, IndexError) as error:
        said = failure or last_words(folder / LOG) or f"{type(error).__name__}: {error}"
        return {**result, "valid": False, "reasons": ["no result: " + said[:300]], "broken": True}
    if failure:
        return {**result, "valid": False, "reasons": [failure], "broken": True}
    return {**result, **assess(known, account, watch, work)}


def assess(known: truth.Truth, account: Any, watch: Watch, work: Load) -> dict[str, Any]:
    """The figures of a run."""
    found = judge.judge(known, account)
    begin, end = judge.window(known, account)
    used = watch.between(begin, end)
    faults = sum(sent.fault is not None for sent in known.streams.values())
    sent_tokens = sum(
        known.streams[r.stream].tokens for r in account.readings if r.stream in known.streams
    )
    rate = judge.arrivals(known, account)
    done = len(account.readings) + account.failed
    return {
        "valid": not known.reasons,
        "reasons": known.reasons,
        "mock": {
            "late_p99_ms": round(known.late_p99_s * 1000, 3),
            "late_max_ms": round(known.late_max_s * 1000, 3),
            "lain_p99_ms": round(known.lain_p99_s * 1000, 3),
            "cpu_s": round(known.cpu_s, 2),
            "chunks_per_s": round(
                sum(len(s.texts) for s in known.streams.values()) / (end - begin)
            ),
        },
        "ttft": judge.spread(found.ttft_s),
        "ttft_by_text": judge.spread(found.ttft_by_text_s),
        "gap": judge.spread(found.gap_s),
        "mean_gap": judge.spread(found.mean_gap_s),
        "lag": judge.spread(found.lag_s),
        "streams_compared": found.compared,
        "misread": found.misread,
        "unknown": found.unknown,
        "role_counted": found.role_counted,
        "merged": found.merged,
        "faults": faults,
        "missed": found.missed,
        "invented": found.invented,
        "requests_sent": work.requests,
        "requests_told": done,
        "tokens_told": account.tokens,
        "tokens_sent": sent_tokens,
        "rate_asked": work.rate,
        "rate_got": rate if work.rate is None else round(rate or 0.0, 2),
        "cpu_share": round(used / (end - begin), 4),
        "cpu_ms_per_stream": round(used * 1000 / max(1, done), 3),
        "cpu_total_s": round(watch.total_s, 2),
    }


def last_words(log: Path) -> str:
    """The last error that a client's log tells of, or else its last line; empty without either."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    except OSError:
        return ""
    lines = [line for line in lines if line]
    errors = [line for line in lines if _ERROR.match(line)]
    return (errors or lines or [""])[-1]


@contextlib.contextmanager
def _mock(scenario: str, itl_s: float, log: Path, cores: tuple[int, int] | None) -> Iterator[str]:
    words = [sys.executable, "-m", "benchmarks.fidelity.mock", scenario, str(log)]
    words += ["--itl", str(itl_s), "--chunks", str(CHUNKS)]
    words += ["--core", str(cores[1])] if cores else []
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _client(
    client: Client, python: str, work: Load, folder: Path, cores: tuple[int, int] | None
) -> tuple[str | None, Watch]:
    """Runs the client to its end; what went wrong, if anything, and the CPU it used."""
    words = client.command(python, work, folder)
    mine, nice = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    with (folder / LOG).open("w") as output:
        if cores:
            os.sched_setaffinity(0, {cores[0]})  # what is started has it from us
        with contextlib.suppress(OSError):  # every client alike before what else runs here
            os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
        try:
            process = subprocess.Popen(
                words, cwd=folder, env=environment(client, work, folder), stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        finally:
            os.sched_setaffinity(0, mine)
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, 0, nice)
        watch = Watch(process.pid)
        failure = None
        try:
            process.wait(_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            failure = f"did not end in {_TIMEOUT_S:.0f} s"
        finally:
            _end(watch, process)
            watch.stop()
    # A client may say with its exit code that requests failed; its account says more.
    return failure, watch


def _end(watch: Watch, process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        return
    tree = watch.pids()
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for pid in tree:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def keep(result: dict[str, Any], path: Path) -> None:
    """Writes a result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**result, "at": time.time()}, indent=1), encoding="utf-8")
