"""What requests cost that the gateway holds: each looks for an engine four times a second.

    python -m benchmarks.gateway.held [--requests 2000,8000] [--seconds 30]

Prints a row for each number of them: how much of a core they take, and memory.
"""

import argparse
import resource
import selectors
import socket
import sys
import tempfile
import time
from pathlib import Path

import psutil
from benchmarks.door.paired import Server
from benchmarks.gateway.__main__ import gateway

from deployctl.render.gateway import HELD, MOST_FILES, TRY_S, UPSTREAMS

BODY = b'{"model": "demo", "prompt": "Hello", "max_tokens": 8}'
HEAD = (
    b"POST /demo/v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
)
ASKED = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
SETTLE_S = 5.0
TABLE = """\
| held | of a core | µs an attempt | MiB before | MiB |
|---:|---:|---:|---:|---:|"""


def row(server: Server, number: int, seconds: float) -> str:
    """So many requests, of a connection each, held for so long.

    Raises:
        RuntimeError: some were answered meanwhile.
    """
    before = memory(server)
    asked = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(number)]
    try:
        for each in asked:
            each.sendall(ASKED)
        time.sleep(SETTLE_S)
        used, begun = server.cpu_s(), time.monotonic()
        time.sleep(seconds)
        share = (server.cpu_s() - used) / (time.monotonic() - begun)
        with selectors.DefaultSelector() as any_of:
            for each in asked:
                any_of.register(each, selectors.EVENT_READ)
            if answered := len(any_of.select(0)):
                raise RuntimeError(f"{answered} of {number} requests are not held")
        micros = share / (number / TRY_S) * 1e6
        return f"| {number:,} | {share:.2f} | {micros:.0f} | {before:.0f} | {memory(server):.0f} |"
    finally:
        for each in asked:
            each.close()


def memory(server: Server) -> float:
    """What it has of the machine's, in MiB."""
    return float(psutil.Process(server.pid).memory_info().rss) / 2**20


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", default="2000,8000")
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    numbers = [int(each) for each in given.requests.split(",")]
    files = max(numbers) + 100
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if files > min(MOST_FILES, most):
        parser.error(f"the gateway, or this program, may have no {files} connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(TABLE)
    for number in numbers:
        with tempfile.TemporaryDirectory(prefix="held-") as name:
            folder = Path(name)
            with gateway(folder, 1) as server:
                (folder / UPSTREAMS / "demo").write_text(HELD)
                print(row(server, number, given.seconds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
