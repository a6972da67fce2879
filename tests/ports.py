"""Ports of the loopback that nothing listens on, and that nothing takes by chance."""

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_given: set[int] = set()


def free(count: int = 1) -> int:
    """A port that no other call was given; the first of `count` in a row.

    The kernel's own choice is for a moment: its range is what outgoing connections take their
    ends from, so a port found there and let go may be taken before the engine has it.
    """
    first_of_kernel = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32768
    candidates = range(min(10_240, first_of_kernel - 1), first_of_kernel)
    for _ in range(1000):
        port = random.choice(candidates)
        row = set(range(port, port + count))
        if not row & _given and all(map(_is_free, row)):
            _given.update(row)
            return port
    raise OSError("no free port was found")


def answers(address: str, port: int) -> bool:
    """Whether anybody listens there."""
    try:
        socket.create_connection((address, port), timeout=5).close()
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("0.0.0.0", port))  # whatever the address it is published on
        except OSError:
            return False
    return True
