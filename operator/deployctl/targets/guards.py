"""What a change to a service is wrapped in: its lock, and a say over Ctrl-C and kind signals."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from deployctl.errors import LockedError
from deployctl.targets import lockfile
from deployctl.targets.identity import boot_id, identify
from deployctl.targets.lockfile import Patience

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NONE = Patience()
_HERE = threading.local()  # of a thread that is not the main one: how often it is shielded
_Handler = Callable[[int, FrameType | None], object]


@contextmanager
def lock(folder: Path, service: str, command: str, *, waits: Patience = _NONE) -> Iterator[None]:
    """Holds `folder/lock` for the time of a change. The kernel frees it if we are killed, where a
    lock that is the presence of a file would stay; and it says who holds it. One that another has
    is waited for as long as `waits` says.

    Raises:
        LockedError: another deployctl holds it; says which, and since when.
        StateError: the lock file cannot be made.
    """
    path = folder / "lock"
    with lockfile.opened(path) as descriptor:
        if not lockfile.taken(descriptor, path, f"{service} is", waits):
            raise _locked(descriptor, path, service)
        _sign(descriptor, command)
        yield


def signer_lives(folder: Path) -> bool:
    """Whether whoever signed the lock last still runs; one that was killed did not end its work. To
    take the lock would tell too, and turn away a deployctl that wants it in that moment."""
    try:
        signed = json.loads((folder / "lock").read_bytes())
        pid, start, boot = int(signed["pid"]), signed.get("start"), signed.get("boot")
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not signed: who knows
        return True
    who = identify(pid)
    # Its pid may be another's by now; the start was not signed by an earlier deployctl.
    return who is not None and (start is None or (start, boot) == (who.start, boot_id()))


def sign_off(folder: Path) -> None:
    """Has the last one who signed be at work no more, though he lives: what he tries again later,
    nobody waits for meanwhile. Where another has the lock by now, his name stays.

    Raises:
        StateError: there can be no lock.
    """
    path = folder / "lock"
    with lockfile.opened(path) as descriptor:
        if lockfile.take(descriptor, path):
            _write(descriptor, {"pid": 0})  # that of no process


def _sign(descriptor: int, command: str) -> None:
    """Writes who holds it. On a full disk the lock holds all the same, unsigned."""
    me = identify(os.getpid())
    holder: dict[str, object] = {
        "pid": os.getpid(),
        "start": me and me.start,
        "boot": boot_id(),
        "command": command,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    _write(descriptor, holder)


def _write(descriptor: int, holder: dict[str, object]) -> None:
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _locked(descriptor: int, path: Path, service: str) -> LockedError:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        who = f"{holder['command']} (pid {holder['pid']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        who = "another deployctl"
    return LockedError(
        f"{service} is being changed by {who}",
        where=str(path),
        hint="wait until it ends, or stop it with Ctrl-C; it cleans up after itself",
    )


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM (a cancelled pipeline) and SIGHUP (a closed terminal) act as Ctrl-C does."""
    with _handling(_interrupt):
        yield


@contextmanager
def shielded(say: Callable[[], None]) -> Iterator[None]:
    """Work here is not interrupted; `say` tells the user so if they try.

    The handler is a function and not SIG_IGN, which programs started here would inherit.
    """
    _HERE.shields = _shields() + 1
    try:
        with _handling(lambda number, frame: say()):
            yield
    finally:
        _HERE.shields = _shields() - 1


@contextmanager
def calling(called: threading.Event, say: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and the like make the call that a `Halt` hears, and raise nothing here; `say` tells
    the user so."""

    def call() -> None:
        called.set()
        say()

    with _handling(lambda number, frame: call()):
        yield


def _shields() -> int:
    return int(getattr(_HERE, "shields", 0))


class Halt:
    """Ctrl-C for work in another thread, which no signal reaches: once it was `called`, it is
    raised there a single time, at the next pause or check that is not shielded.
    """

    def __init__(self, called: threading.Event) -> None:
        self._called = called
        self._heard = False

    def check(self) -> None:
        """Raises KeyboardInterrupt where it is time to."""
        if self._called.is_set() and not (self._heard or _shields()):
            self._heard = True
            raise KeyboardInterrupt

    def sleep(self, seconds: float) -> None:
        """Waits, and is woken by the call."""
        if self._heard or _shields():
            time.sleep(seconds)
            return
        self._called.wait(seconds)
        self.check()


@contextmanager
def _handling(handler: _Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.getsignal(number) for number in _STOP}
    for number in _STOP:
        # nohup and the like have said that this signal is none of ours
        if former[number] is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in former.items():
            if old is not None:
                signal.signal(number, old)
