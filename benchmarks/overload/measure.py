"""Open loop against a server that cannot hold the rate: does the client stay open, and small?

    python benchmarks/overload/measure.py --minutes 10 --rate 200 --workers 1 --report report.md

A fake engine (engine.py) serves a fixed number of requests a second. More are asked of it, for
as long as it is told. Beside that the memory of every process of the load test is read once a
second. Four things must hold, and the exit code is 1 where one does not:

- arrivals: until the client says that too many are under way, it sends what is due, within 1%;
- latency: the engine serves in order, so request k begins when request k − PLACES has ended, and
  its TTFT, counted from when it was due, is the time until then, within 10%;
- memory: no load process takes more than 2.3 GiB, and in the second half of the time (that is,
  once the client has as much under way as it may) none grows by more than 10%;
- end: the result is there within two minutes of the last second.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
PLACES, SECONDS = 10, 0.2  # of the engine: 50 requests a second
SLICE_S = 10.0
MOST_MIB = 2.3 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Look(NamedTuple):
    """The memory of one process at one moment, in MiB."""

    at_s: float
    pid: int
    role: str
    mib: float


def main() -> int:
    """Runs it, prints the report; 1 if something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--timeout", default="10m", help="the load test's, a request")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="overload-") as folder:
        facts, looks, took = run(options, Path(folder) / "out")
        text, fine = report(options, facts, looks, took, Path(folder) / "out")
    print(text)
    if options.report:
        options.report.write_text(text + "\n", encoding="utf-8")
    return 0 if fine else 1


def run(
    options: argparse.Namespace, out: Path
) -> tuple[dict[str, Any], list[Look], tuple[float, float]]:
    """One load test: its answer, the looks, and when the last second was and the end."""
    engine = subprocess.Popen(
        [sys.executable, str(HERE / "engine.py"), str(PLACES), str(SECONDS)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert engine.stdout is not None
        port = int(engine.stdout.readline())
        seconds = options.minutes * 60
        words = [
            *(sys.executable, "-m", "deployctl", "loadtest", "--url", f"http://127.0.0.1:{port}"),
            *("--model", "slow", "--rate", options.rate, "--arrivals", "constant"),
            *("--duration", f"{seconds:g}s", "--warmup", "0s", "--output-tokens", 8),
            *("--timeout", options.timeout, "--workers", options.workers, "--out", out),
            *("--output", "json"),
        ]
        started = time.monotonic()
        with tempfile.TemporaryFile("w+") as answer:
            test = subprocess.Popen([str(word) for word in words], stdout=answer)
            looks: list[Look] = []
            sending = started
            while test.poll() is None:
                now = time.monotonic()
                seen = [*_family(test.pid, now - started), *_look(engine.pid, now - started)]
                looks += seen
                if any(look.role == "load process" for look in seen):
                    sending = now
                time.sleep(1.0)
            ended = time.monotonic()
            answer.seek(0)
            return json.load(answer), looks, (sending - started, ended - started)
    finally:
        engine.kill()
        engine.wait()


def _family(pid: int, at: float) -> list[Look]:
    found = _look(pid, at)
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return found
    for child in children:
        found += _look(int(child), at)
    return found


def _look(pid: int, at: float) -> list[Look]:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (OSError, IndexError):
        return []
    if not pages:
        return []  # it has ended, and waits to be noticed
    if "locust" in words:
        role = "master" if "--master" in words else "load process"
    else:
        role = "deployctl" if "deployctl" in words else "fake engine"
    return [Look(at, pid, role, pages * _PAGE / 2**20)]


def report(
    options: argparse.Namespace,
    facts: dict[str, Any],
    looks: list[Look],
    took: tuple[float, float],
    out: Path,
) -> tuple[str, bool]:
    """The report in markdown, and whether everything holds."""
    seconds = options.minutes * 60
    samples = [json.loads(line) for line in (out / "requests.jsonl").open()]
    client = facts["client"]
    full = client["first_drop_s"] if client["first_drop_s"] is not None else seconds
    served = sum(s["outcome"] == "ok" for s in samples) / seconds
    ends = sorted(s["started_at_s"] + s["duration_s"] for s in samples if s["outcome"] == "ok")
    rows, worst_rate, worst_latency = [], 0.0, 0.0
    count = int(seconds // SLICE_S)
    for index in range(count):
        begin, end = index * SLICE_S, (index + 1) * SLICE_S
        due = [s for s in samples if begin <= s["scheduled_at_s"] < end]
        off = len(due) / (options.rate * SLICE_S) - 1
        waits = [s["ttft_s"] for s in due if s["ttft_s"] is not None and s["outcome"] == "ok"]
        ttft = statistics.median(waits) if waits else None
        # Of the request in the slice's middle: until the one PLACES before it has ended.
        middle = (begin + end) / 2
        before = int(middle * options.rate) - PLACES
        expected = ends[before] - middle + SECONDS / 8 if 0 <= before < len(ends) else None
        if end <= full:
            worst_rate = max(worst_rate, abs(off))
            # Where some of a slice's requests were cut, the median is of the quick half.
            if ttft is not None and len(waits) == len(due) and begin > 0 and expected:
                worst_latency = max(worst_latency, abs(ttft / expected - 1))
        late = statistics.median(s["lateness_s"] for s in due) if due else None
        if index % max(1, count // 12) == 0:
            rows.append((begin, len(due), off, late, ttft, expected, end <= full))
    memory = _memory(looks, took[0])
    growth = max((late / early - 1 for role, _, early, late, _ in memory if "load" in role))
    peak = max(most for role, _, _, _, most in memory if "load" in role)
    checks = [
        ("arrivals within 1% until the client says so", worst_rate <= 0.01, f"{worst_rate:.2%}"),
        ("TTFT is the queue's length, within 10%", worst_latency <= 0.10, f"{worst_latency:.1%}"),
        (
            "load processes grow by less than 10% in the second half",
            growth < 0.1 or full > seconds / 2,
            f"{growth:.1%}" + (" (not full at half time)" if full > seconds / 2 else ""),
        ),
        ("and take less than 2.3 GiB each", peak < MOST_MIB, f"{peak:,.0f} MiB"),
        (
            "the result is there within 2 min of the end",
            took[1] - took[0] < 120,
            f"{took[1] - took[0]:.0f} s",
        ),
    ]
    lines = [
        "# A rate that the server cannot hold",
        "",
        f"{options.rate:g} requests/s (constant) for {options.minutes:g} min from "
        f"{options.workers} load process(es), against an engine that serves {PLACES / SECONDS:g}/s "
        f"at most, and served {served:.1f}/s; a request is given up after {options.timeout}.",
        "",
        "| | | |",
        "|---|---|---|",
        *(
            f"| {'holds' if ok else '**does not hold**'} | {what} | {how} |"
            for what, ok, how in checks
        ),
        "",
        f"{len(samples):,} requests in requests.jsonl, {client['dropped']:,} dropped, the first at "
        f"{client['first_drop_s']} s; {facts['requests']['failed']:,} failed.",
        "",
        *(f"- {v['level']} `{v['code']}`: {v['text']}" for v in facts["verdicts"]),
        "",
        "| from s | sent | off | lateness p50 ms | TTFT p50 s | queue before it s | client full |",
        "|---:|---:|---:|---:|---:|---:|---|",
    ]
    for begin, sent, off, late, ttft, expected, free in rows:
        cells = [f"{begin:g}", f"{sent:,}", f"{off:+.2%}"]
        cells.append("" if late is None else f"{late * 1000:.2f}")
        cells.append("" if ttft is None else f"{ttft:.1f}")
        cells += [f"{expected:.1f}" if free and expected else "", "" if free else "yes"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "| process | pid | MiB at half time | at the last second | peak |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [f"| {role} | {pid} | {a:.0f} | {b:.0f} | {c:.0f} |" for role, pid, a, b, c in memory]
    return "\n".join(lines), all(ok for _, ok, _ in checks)


def _memory(looks: list[Look], sending_s: float) -> list[tuple[str, int, float, float, float]]:
    """Role, pid, MiB at half time, at the last second of load, and the most."""
    found = []
    for pid in dict.fromkeys(look.pid for look in looks):
        own = [look for look in looks if look.pid == pid]
        during = [look for look in own if look.at_s <= sending_s] or own
        half = min(during, key=lambda look: abs(look.at_s - sending_s / 2))
        role = Counter(look.role for look in own).most_common(1)[0][0]
        found.append((role, pid, half.mib, during[-1].mib, max(o.mib for o in own)))
    return found


if __name__ == "__main__":
    sys.exit(main())
