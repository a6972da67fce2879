"""The parent of an engine: starts it, looks at it, signals it, as engine_watchdog.py decides.

A container's entrypoint, and on a host what the supervisor does it by. SETTINGS is a JSON object
with the fields of Settings. Standard library alone, of Python 3.10:

    python3 -I -S engine_parent.py SETTINGS COMMAND...
"""

import contextlib
import ctypes
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # which -I leaves out
import alive
from engine_turn import Turn
from engine_watchdog import LOOK_S, Engine, Look, Settings, Signs, Watchdog

LOADING_LOOK_S = 0.5  # between two looks at an engine that loads
# No answer for so long, as the chart's liveness has it (10 x 15 s): a saturated one answers late.
SILENT_S = 150.0
# vLLM says so of a core that has died, and ends by itself half a minute later: one more look.
DIED, DIED_S = "/health says 503", 4.0
RESTARTS = "DEPLOYCTL_ENGINE_RESTARTS"  # as deployctl_door/account.py reads it
CHILD_GRACE_S = 2.0  # from SIGTERM to SIGKILL, for children that outlive the engine
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # include/uapi/linux/prctl.h
_LIBC = ctypes.CDLL(None, use_errno=True)
_CGROUPS, _OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


class Machine:
    """This machine, of which one process may make one: it takes the signals."""

    def __init__(
        self,
        settings: Settings,
        *,
        output: int | None = None,
        started: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        """`output` gets what engines write; None: our own. `started` is told each one's pid."""
        self._asked = False
        self._settings = settings
        self._output = output
        self._started = started
        self._turn = Turn(settings.turns, settings.cards)
        self._look: Look | None = None
        self._stop = threading.Event()  # of looking
        self._looking = threading.Thread()
        # Orphans of the engine become our children, so that we can end and reap them.
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop_asked)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _stop_asked(self, *_: object) -> None:
        self._asked = True

    def asked(self) -> bool:
        """Whether somebody told us to end."""
        return self._asked

    def clock(self) -> float:
        """Seconds, of a clock that nobody sets."""
        return time.monotonic()

    def hour(self) -> int:
        """Of the day, in UTC."""
        return time.gmtime().tm_hour

    def sleep(self, seconds: float) -> None:
        """Until a signal comes, a look is there, or so long."""
        select.select([self._wake_read], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 512)

    def drains(self) -> bool:
        """Whether the door is closed: somebody is about to end the engine."""
        return bool(self._settings.drain) and Path(self._settings.drain).exists()

    def say(self, text: str) -> None:
        """A line of the log."""
        with contextlib.suppress(OSError):
            os.write(2 if self._output is None else self._output, f"deployctl: {text}\n".encode())

    def record(self, event: "dict[str, Any]") -> None:
        """A line of the file of events; a disk that is full stops nothing."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        with contextlib.suppress(OSError), Path(self._settings.events).open("a") as file:
            file.write(json.dumps({"at": now, **event}) + "\n")

    def run(self, words: Sequence[str]) -> int:
        """Runs a program to its end."""
        return subprocess.call(
            words, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output
        )

    def start(self, words: Sequence[str], restarts: int) -> "subprocess.Popen[bytes]":
        """Starts an engine, in a group of its own; it ends if we do. The door tells the number of
        restarts among its metrics.

        Raises:
            OSError: there is no such program.
        """
        us = os.getpid()

        def in_child() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            os.setpgid(0, 0)
            if os.getppid() != us:  # we died before the lines above
                os._exit(1)

        engine = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            preexec_fn=in_child,
            env={**os.environ, RESTARTS: str(restarts)},
        )
        self._started(engine.pid)
        return engine

    def signal_all(self, engine: Engine, number: int) -> None:
        """Signals the engine's whole group; SIGKILL ends those of it that are stopped, too."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(engine.pid, number)

    def take_turn(self) -> bool:
        """Whether no other engine loads on a card of this one, and none will until we leave it.
        Where there can be no locks, it is said, and it loads all the same."""
        try:
            return self._turn.take()
        except OSError as error:
            self.say(f"the engine waits for no other that loads on its card: {error}")
            return True

    def leave_turn(self) -> None:
        """Lets the next one load."""
        self._turn.leave()

    def look_on(self, signs: Signs) -> None:
        """Looks at what was started, in a thread of its own, until its children are ended."""
        stop, self._look = threading.Event(), None
        often = min(LOOK_S, self._settings.stall_s / 4) if self._settings.stall_s else LOOK_S

        def go_on() -> None:
            failed = ""
            while not stop.wait(often if signs.ready else LOADING_LOOK_S):
                if self.drains():
                    continue
                try:
                    self._look = look(self._settings)
                except Exception as error:  # a look that fails is not the last one
                    if failed != (failed := f"cannot look at the engine: {error!r}"):
                        self.say(failed)
                with contextlib.suppress(OSError):
                    os.write(self._wake_write, b"\0")

        self._stop, self._looking = stop, threading.Thread(target=go_on, daemon=True)
        self._looking.start()

    def last_look(self) -> Look | None:
        """What was found since this was asked last."""
        found, self._look = self._look, None
        return found

    def reap(self, engine: Engine) -> None:
        """Reaps children that we inherited; the engine itself is left to Popen."""
        peek = os.WEXITED | os.WNOHANG | os.WNOWAIT
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, peek)) and ended.si_pid != engine.pid:
                os.waitpid(ended.si_pid, os.WNOHANG)

    def end_children(self) -> None:
        """Ends all that an engine left behind, level by level, until we have no child."""
        self._stop.set()
        us, told = os.getpid(), set[int]()
        deadline = time.monotonic() + CHILD_GRACE_S
        with contextlib.suppress(ChildProcessError):
            while True:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
                late = time.monotonic() > deadline
                for pid in (pid for pid, (parent, _) in family().items() if parent == us):
                    if late or pid not in told:
                        told.add(pid)
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
                # What the kernel does not let go of (a hung driver) is waited for, at its leisure.
                time.sleep(0.5 if late else 0.02)
        self._looking.join()  # nobody is left who could keep it waiting

    def oom_kills(self) -> int:
        """Processes that the kernel has killed for memory, of those that it counts with us."""
        return oom_kills()

    def weigh(self) -> "tuple[int, int]":
        """Bytes that the engine's processes hold for themselves, and that there are for them."""
        return sum(held for _, held in family().values()), memory()


def look(settings: Settings) -> Look:
    """Looks at the engine once. What of its progress cannot be told is no illness."""
    patience_s = min(SILENT_S, settings.stall_s or SILENT_S)
    try:
        alive.get(settings.port, "/health", settings.answer_s)
    except alive.Dead as dead:
        if str(dead) == DIED:
            return Look(f"its core died: {dead}", DIED_S)
        return Look(f"it hung: {dead}", patience_s)
    except OSError as error:
        return Look(f"it hung: no answer ({error or type(error).__name__})", patience_s)
    if not (settings.token and settings.stall_s):
        return Look()
    token = Path(settings.token)
    try:
        seen = alive.progress(settings.port, settings.answer_s, settings.stall_s, token)
    except alive.Stalled as stalled:
        return Look(f"it hung: {stalled}")
    except (alive.Dead, OSError):
        return Look()
    return Look(idle=not seen)


def family() -> "dict[int, tuple[int, int]]":
    """Our children, theirs and so on, zombies too: by pid, the parent, and bytes of its own."""
    everyone: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                text = (entry / "status").read_text(errors="replace")
                found = dict(re.findall(r"^(PPid|RssAnon):\s+(\d+)", text, re.MULTILINE))
                own = 1024 * int(found.get("RssAnon", 0))
                everyone[int(entry.name)] = int(found.get("PPid", 0)), own
    ours: dict[int, tuple[int, int]] = {}
    parents = {os.getpid()}
    while parents:
        below = {pid: who for pid, who in everyone.items() if who[0] in parents}
        ours.update(below)
        parents = set(below)
    return ours


def oom_kills() -> int:
    """Processes of our control group that the kernel has killed for memory; of all, if it does not
    tell."""
    text = of_the_group("memory.events", "memory.oom_control")
    if not text:
        with contextlib.suppress(OSError):
            text = Path("/proc/vmstat").read_text()
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def memory() -> int:
    """Bytes that our control group may have, or the machine has."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = of_the_group("memory.max", "memory.limit_in_bytes").strip()
    return min(there, int(limit)) if limit.isdecimal() else there


def of_the_group(file: str, file_of_v1: str) -> str:
    """A file on memory of our control group, whichever version of them there is; or nothing."""
    v1 = v2 = ""
    with contextlib.suppress(OSError, ValueError):
        for line in _OWN_CGROUP.read_text().splitlines():
            number, kinds, path = line.split(":", 2)
            if number == "0":
                v2 = path.strip("/")
            elif "memory" in kinds.split(","):
                v1 = path.strip("/")
    memory = _CGROUPS / "memory"  # in a container its own group may be the root of what is mounted
    for place in (
        _CGROUPS / v2 / file,
        _CGROUPS / file,
        memory / v1 / file_of_v1,
        memory / file_of_v1,
    ):
        with contextlib.suppress(OSError):
            return place.read_text()
    return ""


def main(words: "list[str]") -> int:
    """Runs the engine of a container; returns the container's exit code."""
    settings = Settings(**json.loads(words[0]))
    before = [sys.executable, "-m", "deployctl_door"] if settings.token else []
    code = Watchdog(settings, Machine(settings)).run(words[1:], before)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
