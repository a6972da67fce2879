"""The parent of an engine where there is no kubelet: looks at it, ends it, starts it again.

Docker restarts what ends, never what hangs, and a process of a host is restarted by nobody. So an
engine runs under this there: in a container as its entrypoint, on a host below the supervisor. One
that hangs, as alive.py finds, is ended with all its processes. One that ended untold is started
again after DELAYS_S, so many times an hour, then no more. A first start that never got ready is
not: whoever ordered it waits to be told. While the door is closed nothing is ended or started. The
log says all of it, and each event is a line of JSON in a file.

This decides; engine_parent.py beside it does, and is the program. Standard library alone.
"""

import signal
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

DELAYS_S = (1.0, 5.0, 30.0, 60.0, 120.0)  # before the first restart of an hour, the second …
HOUR_S = 3600.0
LOOK_S, ENDING_LOOK_S = 5.0, 0.5  # between two looks at an engine, and at one that is to end
ILL_GRACE_S = 5.0  # from SIGTERM to SIGKILL, for an engine that hangs
WEIGH_S = 60.0  # between two looks at memory
TURN_S = 1.0  # between two looks whether it is this engine's turn to load
START_FAILED = 127  # as a shell says of what cannot be run


class Settings(NamedTuple):
    """What a watchdog is told."""

    port: int  # of loopback
    events: str  # the file that gets a line for each event
    token: str = ""  # the file of the door's probe token; none: no door, so no look at progress
    drain: str = ""  # the file that closes the door
    stall_s: float = 300.0  # with requests and without progress; 0: no look at progress
    answer_s: float = 14.0  # for one answer
    start_s: float = 0.0  # that a start but the first may take; 0: as long as it likes
    restarts: int = 5  # an hour; 0: none, and nothing is ended either
    grace_s: float = 15.0  # from SIGTERM to SIGKILL, for an engine that is well
    memory_share: float = 0.0  # of what there is, that the engine may come to hold; 0: any
    quiet_hour: int = -1  # 0 to 23, UTC: one that holds more is started anew then, if it is idle
    turns: str = ""  # the folder of the locks of cards that engines share: see engine_turn.py
    cards: Sequence[str] = ()  # that it shares, by their locks' names
    stays: bool = False  # once it has given up, or its door is closed: Docker would restart it


class Look(NamedTuple):
    """What one look at an engine found."""

    problem: str = ""
    patience_s: float = 0.0  # for which such a problem may last
    idle: bool = False  # it has no request


class Delays:
    """When an engine that has ended is started again, and when no more."""

    def __init__(self, most: int) -> None:
        self._most = most  # an hour
        self._at: list[float] = []

    def next(self, now: float) -> float | None:
        """Seconds to wait before one restart more; None where there were enough."""
        self._at = [then for then in self._at if now - then < HOUR_S]
        if len(self._at) >= self._most:
            return None
        self._at.append(now)
        return DELAYS_S[min(len(self._at), len(DELAYS_S)) - 1]


class Signs:
    """What the looks at one start of an engine come to."""

    def __init__(self, settings: Settings, now: float, *, first: bool) -> None:
        self.ready = False  # it has been well once
        self._start_s = 0.0 if first else settings.start_s
        self._begun = now
        self._ill: float | None = None  # since when

    def judge(self, look: Look, now: float) -> str:
        """Why the engine is to be ended; empty while it is not."""
        if not look.problem:
            self.ready, self._ill = True, None
            return ""
        if not self.ready:  # a load may be slow
            late = 0 < self._start_s <= now - self._begun
            return f"not ready after {now - self._begun:.0f} s" if late else ""
        self._ill = now if self._ill is None else self._ill
        return look.problem if now - self._ill >= look.patience_s else ""


class Memory:
    """What an engine holds of the machine's memory, against the share that it may."""

    def __init__(self, settings: Settings) -> None:
        self._share, self._hour = settings.memory_share, settings.quiet_hour
        self._grown = False

    def judge(self, held: int, most: int, hour: int, *, idle: bool) -> "tuple[str, str]":
        """What is to be said, once, and why the engine is to be ended; empty where nothing is."""
        if not self._share or held < self._share * most:
            self._grown = False
            return "", ""
        text = f"{held / 2**30:.1f} GiB of memory, {held / most:.0%} of what there is"
        said, self._grown = "" if self._grown else text, True
        return said, f"it held {text}" if idle and hour == self._hour else ""


class Engine(Protocol):
    """A started engine: a Popen, or what a test has in its place."""

    pid: int
    returncode: Any

    def poll(self) -> int | None:
        """How it ended; None while it runs."""

    def send_signal(self, number: int, /) -> None:
        """Signals it alone."""


class Processes(Protocol):
    """What a watchdog works on: see engine_parent.py."""

    # fmt: off
    def asked(self) -> bool: ...  # noqa: D102  to end
    def clock(self) -> float: ...  # noqa: D102
    def hour(self) -> int: ...  # noqa: D102
    def sleep(self, seconds: float, /) -> None: ...  # noqa: D102
    def drains(self) -> bool: ...  # noqa: D102
    def say(self, text: str, /) -> None: ...  # noqa: D102
    def record(self, event: "dict[str, Any]", /) -> None: ...  # noqa: D102
    def run(self, words: Sequence[str], /) -> int: ...  # noqa: D102
    def start(self, words: Sequence[str], restarts: int, /) -> Engine: ...  # noqa: D102
    def signal_all(self, engine: Engine, number: int, /) -> None: ...  # noqa: D102
    def take_turn(self) -> bool: ...  # noqa: D102
    def leave_turn(self) -> None: ...  # noqa: D102
    def look_on(self, signs: Signs, /) -> None: ...  # noqa: D102
    def last_look(self) -> Look | None: ...  # noqa: D102
    def reap(self, engine: Engine, /) -> None: ...  # noqa: D102
    def end_children(self) -> None: ...  # noqa: D102
    def oom_kills(self) -> int: ...  # noqa: D102
    def weigh(self) -> "tuple[int, int]": ...  # noqa: D102
    # fmt: on


class Watchdog:
    """Runs an engine, again and again where it has to."""

    def __init__(self, settings: Settings, processes: Processes) -> None:
        self._settings = settings
        self._processes = processes
        self._delays = Delays(settings.restarts)
        self._count = 0  # of restarts
        self._weighed = processes.clock()
        self._killed = 0  # by the kernel for memory, as of when the engine was well the last time

    def run(self, words: Sequence[str], before: Sequence[str] = ()) -> int:
        """Returns how the last engine ended, as Popen does. `before` is run ahead of each."""
        processes, first = self._processes, True
        while True:
            self._killed = processes.oom_kills()
            code, why, ready = self._once(words, before, first=first)
            if processes.asked() or not self._settings.restarts or (first and not ready):
                return code
            why = why or ending(code)
            if processes.oom_kills() > self._killed:
                why = f"out of memory: the kernel killed a process of it ({why})"
            if not self._wait(why):
                while self._settings.stays and not processes.asked():
                    processes.sleep(HOUR_S)
                return code
            first = False

    def _wait(self, why: str) -> bool:
        """Waits until it is time to start the engine again; False where it is not to be."""
        processes = self._processes
        if processes.drains():
            return False
        delay = self._delays.next(processes.clock())
        if delay is None:
            most = self._settings.restarts
            often = "once" if most == 1 else f"{most} times"
            text = f"{why}; started again {often} in an hour, and no more"
            self._tell("gave-up", text, f"the engine ended: {text}")
            return False
        self._count += 1
        self._tell("restart", why, f"the engine is started again in {delay:.0f} s: {why}")
        until = processes.clock() + delay
        while (left := until - processes.clock()) > 0 and not processes.asked():
            processes.sleep(left)
        return not (processes.asked() or processes.drains())

    def _once(
        self, words: Sequence[str], before: Sequence[str], *, first: bool
    ) -> "tuple[int, str, bool]":
        """One engine from start to end: how it ended, why it was ended, whether it was ready."""
        processes, why = self._processes, ""
        try:
            if before and (code := processes.run(before)):
                return code, "the door before it does not open", False
            if not self._has_turn():
                return -signal.SIGTERM, "", False
            engine = processes.start(words, self._count)
        except OSError as error:
            processes.leave_turn()
            processes.say(f"cannot start {words[0]}: {error.strerror}")
            return START_FAILED, f"it cannot be started: {error.strerror}", False
        begun = processes.clock()
        signs = Signs(self._settings, begun, first=first)
        memory = Memory(self._settings)
        processes.look_on(signs)
        ends: float | None = None  # when it is killed, once it was told to end
        while engine.poll() is None:
            now = processes.clock()
            if ends is None and processes.asked():
                ends = now + self._settings.grace_s
                engine.send_signal(signal.SIGTERM)
            elif ends is None and (why := self._ill(signs, memory, now)):
                ends = now + ILL_GRACE_S
                processes.say(f"the engine is ended: {why}")
                processes.signal_all(engine, signal.SIGTERM)
            elif ends is not None and now >= ends:
                processes.signal_all(engine, signal.SIGKILL)
            if signs.ready or 0 < self._settings.start_s <= now - begun:
                processes.leave_turn()
            processes.sleep(LOOK_S if ends is None else ENDING_LOOK_S)
            processes.reap(engine)
        processes.end_children()
        processes.leave_turn()  # now that nothing of it is on a card
        return int(engine.returncode), why, signs.ready

    def _has_turn(self) -> bool:
        """Waits while another engine loads on a card of ours; False where we are not to load any
        more."""
        processes, waits = self._processes, False
        while not (processes.asked() or processes.drains()):
            if processes.take_turn():
                if waits:
                    processes.say("it is the engine's turn")
                return True
            if not waits:
                processes.say("the engine waits for its turn: another loads on its card")
            waits = True
            processes.sleep(TURN_S)
        return False

    def _ill(self, signs: Signs, memory: Memory, now: float) -> str:
        look, was_ready = self._processes.last_look(), signs.ready
        if look is None:
            return ""
        if why := signs.judge(look, now):
            return why if self._settings.restarts else ""
        if not look.problem:
            self._killed = self._processes.oom_kills()
        if signs.ready and not was_ready and self._count:
            self._processes.say("the engine serves again")
        if self._settings.memory_share and now - self._weighed >= WEIGH_S:
            self._weighed = now
            held, most = self._processes.weigh()
            said, too_much = memory.judge(held, most, self._processes.hour(), idle=look.idle)
            if said:
                self._tell("memory", said, f"the engine holds {said}")
            return too_much if self._settings.restarts else ""
        return ""

    def _tell(self, event: str, why: str, text: str) -> None:
        self._processes.say(text)
        self._processes.record({"event": event, "why": why, "restarts": self._count})


def ending(code: int) -> str:
    """In words, how a process ended."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"killed by signal {-code}"
