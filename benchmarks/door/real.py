"""Measures the door's cost on a real vLLM: one with it and one without, asked in turn.

    python -m benchmarks.door.real --model DIR [--starts 2] [--pairs 30] [--turns 300]

Both are started with the command that `up` makes for the model on this machine's CPU, the second
without the door's arguments. Either idles while the other answers. All streams of a load begin at
once, so that the engine takes about the same steps each time. Prints a table in markdown.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from benchmarks.door.client import KEY, load, request
from benchmarks.door.paired import Server, interval, listens

from deployctl import host
from deployctl.render.door import MIDDLEWARE

START_S = 600.0
WARM = 3  # loads of each engine that are not counted
HEAD = """\
| | without, mean | with the door | more | |
|---|---:|---:|---:|---:|"""


class Engine(NamedTuple):
    """A started vLLM: its API server, where the door is, and all else of it."""

    server: Server
    others: tuple[Server, ...]
    model: str

    def request(self, tokens: int) -> bytes:
        """A chat that is streamed."""
        body = {"model": self.model, "stream": True, "max_tokens": tokens, "ignore_eos": True}
        body["messages"] = [{"role": "user", "content": "a question of a few words " * 8}]
        return request("/v1/chat/completions", body)

    def cpu_s(self) -> np.ndarray:
        """CPU seconds so far: of the API server, and of the whole engine."""
        server = self.server.cpu_s()
        return np.array([server, server + sum(each.cpu_s() for each in self.others)])

    def ask(self, streams: int, tokens: int) -> np.ndarray:
        """Milliseconds of one load: CPU a stream of the API server and of the whole engine, and
        to the first event (p50)."""
        before = self.cpu_s()
        seen = asyncio.run(load(self.server.port, streams, self.request(tokens), begin_s=0))
        return 1e3 * np.array([*(self.cpu_s() - before) / streams, seen.first_p50])


def in_turn(both: tuple[Engine, Engine], count: int, streams: int, tokens: int) -> np.ndarray:
    """So many loads of each, [pair, engine, what of it]; who is first changes. The first ones,
    which warm up, are left out."""
    seen = np.zeros((count + WARM, 2, 3))
    for number, pair in enumerate(seen):
        for place in (number % 2, 1 - number % 2):
            pair[place] = both[place].ask(streams, tokens)
    return seen[WARM:]


@contextmanager
def engines(model: Path) -> Iterator[tuple[Engine, Engine]]:
    """One with the door, and one without."""
    with tempfile.TemporaryDirectory(prefix="door-") as name:
        folder = Path(name)
        around = {**os.environ, "DEPLOYCTL_STATE_DIR": f"{name}/state"}

        def deployctl(*words: object) -> bytes:
            command = [sys.executable, "-m", "deployctl", *map(str, words)]
            return subprocess.run(command, env=around, check=True, stdout=subprocess.PIPE).stdout

        (folder / "key").write_text(KEY)
        port = host.free_port()
        up = ["up", "--model", model, "--gpu", "cpu", "--port", port, "--name", "guarded"]
        up += ["--enforce-eager", "--env", "VLLM_CPU_OMP_THREADS_BIND=nobind"]
        # Threads that wait for the next step spin otherwise, in the other engine's time.
        up += ["--env", "OMP_WAIT_POLICY=passive", "--env", "KMP_BLOCKTIME=0"]
        up += ["--api-key-file", folder / "key", "--output", "json"]
        served = json.loads(deployctl(*up))["services"][0]["model"]
        try:
            (run,) = (folder / "state" / "process" / "guarded" / "runs").iterdir()
            pid = json.loads((run / "engine.json").read_text())["pid"]
            environment = psutil.Process(pid).environ()
            argv = json.loads((run / "job.json").read_text())["argv"]
            bare = argv[: argv.index(MIDDLEWARE) - 1]
            with (
                started(argv, environment, folder / "door.log") as door,
                started(bare, environment, folder / "bare.log") as other,
            ):
                yield of(*door, served), of(*other, served)
        finally:
            deployctl("down", "guarded")


@contextmanager
def started(argv: list[str], environment: dict[str, str], log: Path) -> Iterator[tuple[int, int]]:
    """An engine by its command: its process id and port, once it answers."""
    port = host.free_port()
    at = argv.index("--port") + 1
    argv = [*argv[:at], str(port), *argv[at + 1 :]]
    with log.open("wb") as file:
        process = subprocess.Popen(
            argv, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_S
        while not listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text()[-2000:])
            time.sleep(0.5)
        yield process.pid, port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def of(pid: int, port: int, model: str) -> Engine:
    """An engine by the process id of its API server."""
    others = (Server(child.pid, port) for child in psutil.Process(pid).children(recursive=True))
    return Engine(Server(pid, port), tuple(others), model)


def row(title: str, pairs: np.ndarray) -> str:
    """A row of the table, of pairs with the door and without it."""
    door, plain = pairs.T
    share, share_half = interval(door / plain - 1)
    more, half = interval(door - plain)
    cells = [title, f"{plain.mean():.2f}", f"{door.mean():.2f}", f"{more:+.3f} ± {half:.3f}"]
    return f"| {' | '.join(cells)} | {share:+.1%} ± {share_half:.1%} |"


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a checkpoint's folder")
    parser.add_argument("--starts", type=int, default=2, help="of both engines")
    parser.add_argument("--pairs", type=int, default=30, help="of loads, a start")
    parser.add_argument("--streams", type=int, default=64, help="of a load")
    parser.add_argument("--tokens", type=int, default=64, help="of a stream")
    parser.add_argument("--turns", type=int, default=300, help="pairs of single requests, a start")
    given = parser.parse_args()
    loads, singles = [], []
    for start in range(given.starts):
        with engines(given.model) as both:
            singles.append(in_turn(both, given.turns, 1, 1))
            loads.append(in_turn(both, given.pairs, given.streams, given.tokens))
        print(f"start {start + 1} of {given.starts}", file=sys.stderr)
    cpu, first = np.concatenate(loads), np.concatenate(singles)[:, :, 2]
    print(HEAD)
    print(row("CPU of the API server a stream, ms", cpu[:, :, 0]))
    print(row("CPU of the whole engine a stream, ms", cpu[:, :, 1]))
    print(row("time to the first event of one request, ms", first))
    door, plain = np.median(first, axis=0)
    added = np.median(first[:, 0] - first[:, 1])
    print(f"\np50: {plain:.2f} ms, with the door {door:.2f}; of the differences: {added:+.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
