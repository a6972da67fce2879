"""What parts of the gateway's configuration cost: gateways without one each, asked in turn.

    python -m benchmarks.gateway.parts [--rounds 40]

CPU of a request of two texts is compared within each round, and TTFT; a busy machine takes more
rounds. Prints a table; progress goes to stderr.
"""

import argparse
import http.client
import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.door.paired import Server, interval
from benchmarks.gateway.__main__ import Run, gateway, run
from benchmarks.gateway.loop import Load, Loop

from deployctl.render.gateway import ADMIN, UPSTREAMS

LOAD = Load(requests=24, every_ns=10_000_000, texts=2, interval_ns=20_000_000)
EDGE = 2  # requests at each end of a load that are not counted
HEAD = """\
| the gateway | CPU a request, ms | more | TTFT p50, ms | more | p99, ms |
|---|---:|---:|---:|---:|---:|"""


def no_log(document: dict[str, Any]) -> None:
    """Logs no request."""
    for server in document["apps"]["http"]["servers"].values():
        server.pop("logs", None)


def no_metrics(document: dict[str, Any]) -> None:
    """Counts no requests."""
    document["apps"]["http"].pop("metrics", None)


def kept(document: dict[str, Any]) -> None:
    """Keeps its connections to the engine."""

    def keep(proxy: dict[str, Any]) -> None:
        proxy["transport"] = {**proxy["transport"], "keep_alive": {"enabled": True}}

    _each_proxy(document, keep)


def at_once(document: dict[str, Any]) -> None:
    """Nothing is sent again: no answer is asked whether it is to be, and no body is kept for it."""

    def forget(proxy: dict[str, Any]) -> None:
        proxy.pop("load_balancing", None)
        proxy.pop("request_buffers", None)

    _each_proxy(document, forget)


def fixed(document: dict[str, Any], address: str) -> None:
    """Knows the engine's address, and reads no file for it."""
    text = json.dumps(document).replace(f"{{file.{UPSTREAMS}/demo}}", address)
    document.update(json.loads(text))


def bare(document: dict[str, Any], address: str) -> None:
    """A Caddy that passes on, and nothing else."""
    no_log(document)
    no_metrics(document)
    strips = {"handler": "rewrite", "strip_path_prefix": "/demo"}
    passes = {"handler": "reverse_proxy", "upstreams": [{"dial": address}], "flush_interval": -1}
    for name, server in document["apps"]["http"]["servers"].items():
        if name != "monitor":
            server.pop("errors")
            server["routes"] = [{"handle": [strips, passes]}]


def parts(address: str) -> dict[str, Callable[[dict[str, Any]], None]]:
    """Changes of the configuration, by what is left."""

    def read(document: dict[str, Any]) -> None:
        fixed(document, address)

    def least(document: dict[str, Any]) -> None:
        for change in (no_log, no_metrics, kept, at_once, read):
            change(document)

    return {
        "as it is": lambda document: None,
        "without access log": no_log,
        "without metrics": no_metrics,
        "that sends nothing again": at_once,
        "with a fixed address": read,
        "that keeps connections": kept,
        "with all of these": least,
        "a bare Caddy": lambda document: bare(document, address),
    }


def load_into(folder: Path, document: dict[str, Any]) -> None:
    """Has a running gateway take that configuration.

    Raises:
        RuntimeError: it does not.
    """
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(folder / ADMIN))
    connection.request("POST", "/load", json.dumps(document), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = answer.read().decode()
    connection.close()
    if answer.status != http.client.OK:
        raise RuntimeError(f"the gateway takes no such configuration: {said}")


def _each_proxy(document: Any, change: Callable[[dict[str, Any]], None]) -> None:
    if isinstance(document, dict):
        if document.get("handler") == "reverse_proxy":
            change(document)
        for value in document.values():
            _each_proxy(value, change)
    elif isinstance(document, list):
        for value in document:
            _each_proxy(value, change)


def measured(folder: Path, rounds: int) -> dict[str, list[Run]]:
    """Runs through gateways without a part each, in each round in another order."""
    cores, loop = sorted(os.sched_getaffinity(0)), Loop()
    ways: dict[str, Server] = {}
    try:
        with ExitStack() as stack:
            for number, (name, change) in enumerate(parts(f"127.0.0.1:{loop.port}").items()):
                place = folder / str(number)
                ways[name] = stack.enter_context(gateway(place, loop.port))
                document = json.loads((place / "caddy.json").read_text())
                change(document)
                load_into(place, document)
                loop.run(LOAD, ways[name].port)  # warms
            os.sched_setaffinity(0, cores[:1])
            runs: dict[str, list[Run]] = {name: [] for name in ways}
            for number in range(rounds):
                for name in np.random.default_rng(number).permutation(list(ways)):
                    runs[name].append(run(loop, ways[name], LOAD, EDGE))
                print(f"round {number + 1} of {rounds}", file=sys.stderr)
            return runs
    finally:
        os.sched_setaffinity(0, cores)
        loop.close()


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gateway-") as name:
        runs = measured(Path(name), given.rounds)
    print(HEAD)
    cpu = {name: np.array([each.cpu for each in of]) for name, of in runs.items()}
    first = {name: np.array([np.median(r.first_alone) for r in of]) for name, of in runs.items()}
    for name in runs:
        cells = []
        for times in (cpu, first):
            cells.append(f"{np.median(times[name]):.3f}")
            centre, half = interval(times[name] - times["as it is"])
            cells.append("" if name == "as it is" else f"{centre:+.3f} ± {half:.3f}")
        last = np.percentile(np.concatenate([each.first_alone for each in runs[name]]), 99)
        print(f"| {name} | {' | '.join(cells)} | {last:.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
