"""What Kubernetes runs before it tells an engine to end: who is in may leave.

The drain file is there before this begins. From that moment every answer ends its connection, so
that clients come back to another engine. Those that still come are let in: whoever was given a long
answer asks once more on the connection that it came by. So the engine is told to end once nobody
has been in for longer than it keeps an unused connection (KEEPS_S), by when it has closed them all;
not before LEAST_S, until which proxies may send new clients, and not after MOST_S.
Standard library alone:

    python3 -S leave.py PORT TOKEN_FILE LEAST_S MOST_S
"""

import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

UNDER_WAY = re.compile(r"^deployctl_door_requests_under_way (\d+)$", re.MULTILINE)
KEEPS = "VLLM_HTTP_TIMEOUT_KEEP_ALIVE"  # vllm/envs.py
KEEPS_S = 5.0  # its default
POLL_S = 0.5
ANSWER_S = 10.0  # a saturated engine answers late
SILENT = 3  # questions in a row that nobody answers: it hangs


class Gone(Exception):  # noqa: N818  what it says is a state
    """Nobody listens: the engine is loading, or has ended."""


def keeps_s(environment: "dict[str, str]") -> float:
    """Seconds for which the engine keeps a connection that nobody uses, and a moment more."""
    try:
        return float(environment.get(KEEPS) or KEEPS_S) + 2 * POLL_S
    except ValueError:
        return KEEPS_S + 2 * POLL_S


def under_way(port: int, token_file: Path) -> int | None:
    """Requests of users that have not ended; None where the door does not say.

    Raises:
        Gone: nobody listens.
    """
    from alive import Dead, get  # beside this file

    try:
        token = token_file.read_text(encoding="ascii").strip()
        found = UNDER_WAY.search(get(port, "/metrics", ANSWER_S, token))
    except ConnectionRefusedError:
        raise Gone from None
    except (OSError, ValueError, Dead):
        return None
    return int(found[1]) if found else None


def wait(
    look: "Callable[[], int | None]",
    least_s: float,
    most_s: float,
    idle_s: float,
    *,
    clock: "Callable[[], float]" = time.monotonic,
    sleep: "Callable[[float], None]" = time.sleep,
) -> None:
    """Returns once the engine may be told to end. Of an engine that does not say who is in, nobody
    is waited for."""
    begun = busy = clock()
    silent = 0
    while True:
        try:
            left = look()
        except Gone:
            return
        now = clock()
        silent = silent + 1 if left is None else 0
        if left:
            busy = now
        quiet = silent >= SILENT or (left == 0 and now - busy >= idle_s)
        if now - begun >= most_s or (quiet and now - begun >= least_s):
            return
        sleep(POLL_S)


def main(words: "list[str]") -> None:
    """Waits, as the words of the command line say."""
    port, token, least, most = words
    wait(
        lambda: under_way(int(port), Path(token)),
        float(least),
        float(most),
        keeps_s(dict(os.environ)),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
