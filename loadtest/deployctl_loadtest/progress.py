"""Lines on stdout for whoever started this: how far it is, and what it cannot write."""

import dataclasses
import json
import sys
from contextlib import suppress

MARK = "@progress "  # begins the line
UNWRITTEN = "@unwritten "  # begins the line that says why samples are not kept any more


@dataclasses.dataclass(slots=True)
class Counts:
    """What was done so far."""

    at_s: float
    users: int = 0
    in_flight: int = 0
    done: int = 0
    failed: int = 0
    chunks: int = 0
    finished: bool = False  # its limit is reached, or all that was asked for is done


def tell(counts: Counts) -> bool:
    """Writes a line of progress; False if nobody is left to read it."""
    try:
        sys.stdout.write(MARK + json.dumps(dataclasses.asdict(counts)) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        return False
    return True


def complain(error: OSError) -> None:
    """Says that raw samples cannot be written. stderr may go to the same full disk."""
    reason = error.strerror or str(error)
    with suppress(OSError):
        sys.stdout.write(f"{UNWRITTEN}{reason}\n")
        sys.stdout.flush()
    with suppress(OSError):
        sys.stderr.write(f"error: raw samples cannot be written: {reason}\n")
        sys.stderr.flush()
