"""Live progress: how far a load process is, and the line on stdout that tells it."""

import dataclasses
import json
import sys

MARK = "@progress "  # begins the line


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
