"""Identity: one process, told from any later one with the same pid.

A pid alone names nobody for long; (pid, start time) does, until the machine restarts. Start times
are read from /proc and not from psutil, whose are seconds by a clock that can be set.
"""

from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class Identity(NamedTuple):
    """One process."""

    pid: int
    start: int  # clock ticks since boot


class Stat(NamedTuple):
    """What the kernel says of a process."""

    identity: Identity
    state: str
    parent: int
    session: int


def boot_id() -> str:
    """Names this boot of the machine; identities of another boot are void."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def stat(pid: int) -> Stat | None:
    """Of whoever has this pid now; a zombie too."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may itself hold parentheses and spaces: split after the last.
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(Identity(pid, int(fields[19])), fields[0], int(fields[1]), int(fields[3]))


def identify(pid: int) -> Identity | None:
    """Tells who has this pid now; None when nobody does, or only a zombie."""
    found = stat(pid)
    return None if found is None or found.state in "ZX" else found.identity


def alive(who: Identity) -> bool:
    """Whether this very process still runs."""
    return identify(who.pid) == who
