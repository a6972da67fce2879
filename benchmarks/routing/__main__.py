"""Measures what routing by prefix does: the same work by it and by the fewest requests, in turn.

    python -m benchmarks.routing --model DIR [--rounds 6] [--number 16] [--users 4] [--think 1]

Prints a table in markdown; progress goes to stderr. README.md says what is measured.
"""

import argparse
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.door.paired import interval
from benchmarks.routing.work import KINDS, Talk

from deployctl import host
from deployctl.endpoint import Endpoint
from deployctl.metrics.scrape import scrape
from deployctl.metrics.snapshot import Snapshot, added, between
from deployctl.operations.measure.endpoint import resolve

NAME = "routed"
POLICIES = ("least-busy", "prefix")
START_S = 1800
ANSWER = 16  # tokens
HEAD = """\
| work | rounds | requests a round | hit rate, least-busy | prefix | more \
| TTFT p50 ms, least-busy | prefix | more | TTFT p90 ms, least-busy | prefix | more |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"""


class Run(NamedTuple):
    """One round by one policy."""

    hit_rate: float  # share of the prompts' tokens
    firsts_ms: np.ndarray  # from each request to its first text
    shares: list[float]  # of the prompts' tokens that each replica had


class Service:
    """Replicas on this machine's CPU behind a gateway, and a deployctl with its own state; what
    engines cache is the user's."""

    def __init__(self, folder: Path, model: Path, replicas: int) -> None:
        os.environ["DEPLOYCTL_STATE_DIR"] = f"{folder}/state"
        gateway, ports = host.free_port(), _row(replicas)
        self._up = [
            *("up", "--model", model, "--gpu", "cpu", "--name", NAME, "--replicas", replicas),
            *("--port", ports[0], "--gateway-port", gateway, "--kv-cache-gib", 0.25),
            *("--served-model-name", NAME, "--enforce-eager", "--startup-timeout", START_S),
        ]
        self.gateway = gateway
        self._engines: tuple[Endpoint, ...] = ()

    def __call__(self, *words: object) -> Any:
        """What `deployctl` answers."""
        done = subprocess.run(
            [sys.executable, "-m", "deployctl", *map(str, words), "--output", "json"],
            capture_output=True, text=True, timeout=START_S,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(done.stderr)
        return json.loads(done.stdout)

    def route(self, policy: str) -> None:
        """Has the gateway route so, and engines run on as they are."""
        self(*self._up, "--routing", policy)

    def end(self) -> None:
        """Ends all of it; why that is not done is said, beside what went before."""
        try:
            self("down", NAME)
        except SystemExit as problem:
            print(problem.code, file=sys.stderr)

    def scrapes(self) -> list[Snapshot]:
        """Each engine's counters."""
        self._engines = self._engines or resolve(NAME, None, None, None).replicas
        return [scrape(each, timeout_s=60) for each in self._engines]

    def first_ms(self, messages: list[dict[str, str]]) -> tuple[float, str]:
        """Asks for an answer: milliseconds to its first text, and the text."""
        body = {"model": NAME, "messages": messages, "max_tokens": ANSWER, "ignore_eos": True}
        body |= {"stream": True, "temperature": 0}
        asked = http.client.HTTPConnection("127.0.0.1", self.gateway, timeout=START_S)
        with closing(asked):
            began, first, said = time.perf_counter(), 0.0, ""
            headers = {"Content-Type": "application/json"}
            asked.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            answer = asked.getresponse()
            if answer.status != 200:
                raise SystemExit(f"HTTP {answer.status}: {answer.read()[:300]!r}")
            for line in answer:
                if not line.startswith(b"data: {"):
                    continue
                delta = json.loads(line[6:])["choices"][0]["delta"].get("content")
                first = first or (1e3 * (time.perf_counter() - began) if delta else 0.0)
                said += delta or ""
        return first or 1e3 * (time.perf_counter() - began), said


def _row(number: int) -> list[int]:
    """Free ports, one after the other."""
    while True:
        ports = [host.free_port()]
        ports += [ports[0] + more for more in range(1, number)]
        if all(host.port_error(port) is None for port in ports):
            return ports


@contextmanager
def served(model: Path, replicas: int) -> Iterator[Service]:
    """The service, until it is ended."""
    with tempfile.TemporaryDirectory(prefix="routing-") as name:
        service = Service(Path(name), model, replicas)
        try:
            service.route(POLICIES[0])
            yield service
        finally:
            service.end()


def held(
    talk: Talk,
    ask: Callable[[list[dict[str, str]]], tuple[float, str]],
    think: Callable[[], None] = lambda: None,
) -> list[float]:
    """One conversation: milliseconds to the first text of each turn. Its user thinks in between."""
    messages, took = [{"role": "system", "content": talk.system}], []
    for number, said in enumerate(talk.said):
        if number:
            think()
        messages.append({"role": "user", "content": said})
        first, answer = ask(messages)
        messages.append({"role": "assistant", "content": answer})
        took.append(first)
    return took


def run(service: Service, talks: list[Talk], users: int, think_s: float) -> Run:
    """All conversations, of which as many go on at once as there are users, who think so long
    before they go on, on average (exponential)."""
    before = service.scrapes()

    def think() -> None:
        time.sleep(random.expovariate(1 / think_s) if think_s else 0)

    with ThreadPoolExecutor(max_workers=users) as pool:
        took = list(pool.map(lambda talk: held(talk, service.first_ms, think), talks))
    deltas = [between(*pair) for pair in zip(before, service.scrapes(), strict=True)]
    total = added(deltas)
    if not total.prefix_queries:
        raise SystemExit("the engines do not tell what their caches were asked")
    tokens = [each.prefix_queries or 0.0 for each in deltas]
    shares = [each / max(1.0, sum(tokens)) for each in tokens]
    return Run(total.prefix_hit_rate or 0.0, np.concatenate(took), shares)


def row(kind: str, runs: dict[str, list[Run]]) -> str:
    """What the table says of a kind of work."""
    one, other = (runs[policy] for policy in POLICIES)
    cells = [kind, f"{len(one)}", f"{len(one[0].firsts_ms)}"]
    looks: list[tuple[Callable[[Run], float], str]] = [
        (lambda each: 100 * each.hit_rate, "%"),
        (lambda each: float(np.percentile(each.firsts_ms, 50)), ""),
        (lambda each: float(np.percentile(each.firsts_ms, 90)), ""),
    ]
    for look, unit in looks:
        here, there = (np.array([look(each) for each in several]) for several in (one, other))
        centre, half = interval(there - here)
        cells += [f"{here.mean():.1f}{unit}", f"{there.mean():.1f}{unit}"]
        cells.append(f"{centre:+.1f} ± {half:.1f}")
    return f"| {' | '.join(cells)} |"


def compare(service: Service, kind: str, options: argparse.Namespace) -> dict[str, list[Run]]:
    """Rounds of one work by both policies, in changing order; nothing of it was asked before."""
    runs: dict[str, list[Run]] = {policy: [] for policy in POLICIES}
    for number in range(options.rounds):
        for policy in POLICIES if number % 2 else POLICIES[::-1]:
            talks = KINDS[kind](number, f"{policy[0]}{number}", options.number)
            service.route(policy)
            done = run(service, talks, options.users, options.think)
            runs[policy].append(done)
            shares = ", ".join(f"{share:.0%}" for share in done.shares)
            print(f"{kind} {number} {policy}: {done.hit_rate:.1%}; {shares}", file=sys.stderr)
    return runs


def main() -> None:
    """Runs it, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--number", type=int, default=16, help="of conversations, and of texts")
    parser.add_argument("--think", type=float, default=1.0, help="seconds between turns")
    parser.add_argument("--users", type=int, default=4, help="at once")
    parser.add_argument("--replicas", type=int, default=2)
    options = parser.parse_args()
    with served(options.model.resolve(), options.replicas) as service:
        rows = [row(kind, compare(service, kind, options)) for kind in KINDS]
    print("\n".join([HEAD, *rows]))


if __name__ == "__main__":
    main()
