"""Asks a server one request with the load client, and tells what came of it. A program of its own:
Locust patches the process that imports it.

    python asking.py URL MIB    MIB: memory that it may take more than it has
"""

import json
import resource
import sys
import time
from pathlib import Path

from locust.contrib.fasthttp import FastHttpSession
from locust.env import Environment

from deployctl_loadtest.exchange import exchange, prepare
from deployctl_loadtest.request import headers


def main():
    url, room = sys.argv[1], int(sys.argv[2])
    session = FastHttpSession(
        url, Environment().events.request, None, network_timeout=600, connection_timeout=600
    )
    prepare(session)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (room << 20), used + (room << 20)))
    for line in sys.stdin:  # a path and a time-out each
        path, timeout_s = line.split()
        began = time.monotonic()
        sample = exchange(
            session, path, b"{}", headers("the-key"), worker="w", epoch=began,
            clock=time.monotonic, timeout_s=float(timeout_s), seen=lambda _: None, reply=[],
        )  # fmt: skip
        print(json.dumps({**sample.to_dict(), "chunk_gaps_s": sample.chunks}), flush=True)


if __name__ == "__main__":
    main()
