"""What the watchdog decides, by a fake clock, of fake engines whose fates are told beforehand."""

import itertools
import signal

import pytest

from engine_watchdog import DELAYS_S, ENDING_LOOK_S, Look, Settings, Watchdog

WELL, IDLE = Look(), Look(idle=True)
HUNG = Look("it hung: 3 requests and no progress for 300 s")
SILENT = Look("it hung: no answer (timed out)", 150.0)
DIED = Look("its core died: /health says 503", 4.0)
LOADS = Look("it hung: no answer (Connection refused)", 150.0)


class FakeEngine:
    """Loads, then is what `looks` says, each from its second on; ends at its own, or told to."""

    def __init__(self, loads_s=30.0, *, ends_s=None, code=0, looks=(), deaf=False, holds=0):
        self.loads_s, self.ends_s, self.code = loads_s, ends_s, code
        self.looks = [(loads_s, WELL), *((second, look) for second, look in looks)]
        self.deaf, self.holds = deaf, holds
        self.pid, self.returncode = 4711, None

    def begin(self, machine):
        self.machine, self.begun, self.told = machine, machine.now, []
        return self

    def age(self):
        return self.machine.now - self.begun

    def poll(self):
        if self.returncode is None and self.ends_s is not None and self.age() >= self.ends_s:
            self.returncode = self.code
        return self.returncode

    def send_signal(self, number):
        self.told.append((self.age(), signal.Signals(number).name))
        if number == signal.SIGKILL or not self.deaf:
            self.returncode = -number

    def look(self):
        found = [look for second, look in self.looks if second <= self.age()]
        return found[-1] if found else LOADS


class FakeMachine:
    """The engines that are started, one after the other, and a clock that nobody waits for."""

    def __init__(self, *engines, door=()):
        self.engines = list(engines)
        self.now = 0.0
        self.told = False
        self.begun, self.said, self.events, self.counted = [], [], [], []
        self.door = list(door)  # how looking whether it opens ends, once it does not
        self.killed, self.drained = 0, False
        self.hours = 12
        self.at = []  # (when, what): happens while it sleeps

    def asked(self):
        return self.told

    def clock(self):
        return self.now

    def hour(self):
        return self.hours

    def sleep(self, seconds):
        self.now += max(seconds, 0.001)
        while self.at and self.at[0][0] <= self.now:
            self.at.pop(0)[1]()
        assert self.now < 40 * 3600, "it goes on for ever"

    def drains(self):
        return self.drained

    def say(self, text):
        self.said.append(text)

    def record(self, event):
        self.events.append(event)

    def run(self, words):
        code = self.door.pop(0) if self.door else 0
        if isinstance(code, OSError):
            raise code
        return code

    def start(self, words, restarts):
        self.counted.append(restarts)
        engine = self.engines.pop(0)
        if isinstance(engine, OSError):
            raise engine
        self.begun.append(engine.begin(self))
        return engine

    def signal_all(self, engine, number):
        engine.send_signal(number)

    def take_turn(self):
        return True

    def look_on(self, signs):
        pass

    def last_look(self):
        return None if self.drained else self.begun[-1].look()

    def reap(self, engine):
        pass

    def end_children(self):
        pass

    leave_turn = end_children

    def oom_kills(self):
        return self.killed

    def weigh(self):
        return self.begun[-1].holds, 16 * 2**30


def ask(machine):
    def now():
        machine.told = True

    return now


def watch(machine, **settings):
    told = Settings(port=8000, events="e", **settings)
    return Watchdog(told, machine).run(["engine"], ["door"])


def kinds(machine):
    return [(event["event"], event["restarts"]) for event in machine.events]


def test_an_engine_that_dies_is_started_again_later_each_time_and_five_times_an_hour():
    machine = FakeMachine(*[FakeEngine(10, ends_s=20, code=-9) for _ in range(6)])
    assert watch(machine) == -9
    begun = [engine.begun for engine in machine.begun]
    waited = [later - first - 20 for first, later in itertools.pairwise(begun)]
    assert waited == pytest.approx(DELAYS_S, abs=5)  # it is looked at every 5 s
    assert kinds(machine) == [*(("restart", n) for n in range(1, 6)), ("gave-up", 5)]
    killed = "killed by signal 9 (SIGKILL)"
    assert {event["why"] for event in machine.events[:5]} == {killed}
    assert machine.said[-1] == (
        f"the engine ended: {killed}; started again 5 times in an hour, and no more"
    )
    assert machine.said.count("the engine serves again") == 5
    assert machine.counted == [0, 1, 2, 3, 4, 5]  # which each engine's door tells


def test_after_an_hour_it_counts_from_nothing():
    machine = FakeMachine(*[FakeEngine(10, ends_s=4000) for _ in range(8)], FakeEngine())
    machine.at = [(8 * 4100.0, ask(machine))]
    watch(machine)
    assert kinds(machine) == [("restart", n) for n in range(1, 9)]
    assert {text for text in machine.said if "again in" in text} == {
        "the engine is started again in 1 s: exit code 0"
    }


@pytest.mark.parametrize("code", [0, 1, -9])
def test_a_first_start_that_never_got_ready_is_left_alone(code):
    machine = FakeMachine(FakeEngine(loads_s=1e9, ends_s=12, code=code))
    assert watch(machine, stays=True) == code
    assert machine.events == []


def test_a_first_start_may_take_as_long_as_it_likes_and_a_later_one_not():
    machine = FakeMachine(FakeEngine(9000, ends_s=9100), FakeEngine(loads_s=1e9), FakeEngine())
    machine.at = [(20_000.0, ask(machine))]
    watch(machine, start_s=600)
    assert machine.begun[0].told == []
    assert machine.begun[1].told[0] == (pytest.approx(600, abs=5), "SIGTERM")
    assert [event["why"] for event in machine.events] == ["exit code 0", "not ready after 600 s"]
    assert machine.begun[2].told[0][0] > 9000, "this one serves until it is asked to end"


@pytest.mark.parametrize("deaf", [False, True])
def test_a_hung_engine_is_told_to_end_and_then_made_to(deaf):
    machine = FakeMachine(FakeEngine(looks=[(60, HUNG)], deaf=deaf), FakeEngine())
    machine.at = [(300.0, ask(machine))]
    watch(machine)
    hung = machine.begun[0]
    assert [number for _, number in hung.told] == ["SIGTERM", "SIGKILL"][: 1 + deaf]
    assert hung.told[0][0] == pytest.approx(60, abs=5)
    if deaf:
        assert hung.told[1][0] - hung.told[0][0] == pytest.approx(5, abs=ENDING_LOOK_S)
    assert machine.events == [{"event": "restart", "why": HUNG.problem, "restarts": 1}]
    assert machine.said[0] == f"the engine is ended: {HUNG.problem}"


def test_one_that_does_not_answer_has_longer_and_one_whose_core_died_two_looks():
    for look, within in ((SILENT, 150), (DIED, 5)):
        machine = FakeMachine(FakeEngine(looks=[(60, look)]), FakeEngine())
        machine.at = [(500.0, ask(machine))]
        watch(machine)
        assert machine.begun[0].told[0][0] == pytest.approx(60 + within, abs=6)


def test_a_saturated_engine_that_answers_late_now_and_then_is_not_ill():
    late = [(second, SILENT if second % 200 else WELL) for second in range(100, 5001, 100)]
    machine = FakeMachine(FakeEngine(looks=late))
    machine.at = [(6000.0, ask(machine))]
    watch(machine)
    assert machine.begun[0].told[0][0] >= 6000


def test_one_that_is_asked_to_end_has_its_time_and_is_not_started_again():
    machine = FakeMachine(FakeEngine(deaf=True))
    machine.at = [(100.0, ask(machine))]
    assert watch(machine, grace_s=60, stays=True) == -signal.SIGKILL
    (told, _), (killed, _) = machine.begun[0].told
    assert (told, killed - told) == (pytest.approx(100, abs=5), pytest.approx(60, abs=1))
    assert machine.events == []


def test_asked_while_it_waits_to_start_again_it_does_not():
    machine = FakeMachine(*[FakeEngine(1, ends_s=10) for _ in range(3)])
    machine.at = [(50.0, ask(machine))]  # in the 30 s before the third restart
    assert watch(machine) == 0
    assert len(machine.begun) == 3
    assert machine.now < 80


@pytest.mark.parametrize("looks", [[], [(60, HUNG)]], ids=["dies", "hangs"])
def test_behind_a_door_that_is_closed_nothing_is_ended_or_started(looks):
    machine = FakeMachine(FakeEngine(ends_s=400, looks=looks))

    def close():
        machine.drained = True

    machine.at = [(50.0, close), (9000.0, ask(machine))]
    assert watch(machine, stays=True) == 0
    assert machine.now >= 9000, "it stays: Docker would start it again"
    assert (machine.begun[0].told, machine.events) == ([], [])


def test_a_door_that_closes_before_the_restart_keeps_it_away():
    machine = FakeMachine(*[FakeEngine(1, ends_s=10) for _ in range(3)])

    def close():
        machine.drained = True

    machine.at = [(30.0, close)]
    watch(machine)
    assert len(machine.begun) == 3


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (FakeEngine(ends_s=60, code=1), "exit code 1"),
        (FakeEngine(looks=[(60, DIED)]), DIED.problem),
    ],
)
def test_what_the_kernel_killed_for_memory_is_said(engine, said):
    machine = FakeMachine(engine, FakeEngine())

    def kill():
        machine.killed += 1

    machine.at = [(59.0, kill), (200.0, ask(machine))]
    watch(machine)
    why = f"out of memory: the kernel killed a process of it ({said})"
    assert [event["why"] for event in machine.events] == [why]


def test_what_it_killed_of_others_long_before_is_not():
    machine = FakeMachine(FakeEngine(ends_s=900, code=1), FakeEngine())
    machine.at = [(100.0, lambda: setattr(machine, "killed", 1)), (1200.0, ask(machine))]
    watch(machine)
    assert [event["why"] for event in machine.events] == ["exit code 1"]


GROWN = 15 * 2**30  # of the 16 GiB that there are


def test_memory_beyond_its_share_is_said_once():
    machine = FakeMachine(FakeEngine(looks=[(30, IDLE)], holds=GROWN))
    machine.at = [(9000.0, ask(machine))]
    watch(machine, memory_share=0.9)
    assert machine.begun[0].told[0][0] >= 9000
    why = "15.0 GiB of memory, 94% of what there is"
    assert machine.events == [{"event": "memory", "why": why, "restarts": 0}]
    assert machine.said == [f"the engine holds {why}"]


def test_in_the_quiet_hour_one_that_holds_more_is_started_anew_once_it_is_idle():
    machine = FakeMachine(FakeEngine(looks=[(3000, IDLE)], holds=GROWN), FakeEngine())
    machine.hours = 3
    machine.at = [(9000.0, ask(machine))]
    watch(machine, memory_share=0.9, quiet_hour=3)
    assert machine.begun[0].told[0][0] == pytest.approx(3030, abs=36), "not while it has requests"
    assert kinds(machine) == [("memory", 0), ("restart", 1)]
    assert machine.events[1]["why"] == "it held 15.0 GiB of memory, 94% of what there is"


def test_without_a_share_nobody_weighs():
    machine = FakeMachine(FakeEngine(holds=2**40))
    machine.at = [(900.0, ask(machine))]
    watch(machine, quiet_hour=12)
    assert machine.said == []


def test_with_no_restarts_nothing_is_ended_either():
    machine = FakeMachine(FakeEngine(looks=[(60, HUNG)], ends_s=900, code=3))
    assert watch(machine, restarts=0, stays=True) == 3
    assert (machine.begun[0].told, machine.events) == ([], [])


def test_a_door_that_does_not_open_is_told_at_once_and_later_counts_as_a_death():
    assert watch(FakeMachine(door=[78]), stays=True) == 78
    machine = FakeMachine(FakeEngine(ends_s=60), FakeEngine(), door=[0, 78])
    machine.at = [(300.0, ask(machine))]
    watch(machine)
    whys = ["exit code 0", "the door before it does not open"]
    assert [event["why"] for event in machine.events] == whys


def test_a_program_that_is_not_there_is_said():
    machine = FakeMachine(FileNotFoundError(2, "No such file or directory"))
    assert watch(machine) == 127
    assert machine.said == ["cannot start engine: No such file or directory"]


def test_given_up_it_stays_in_a_container_until_it_is_asked():
    machine = FakeMachine(*[FakeEngine(1, ends_s=20) for _ in range(2)])
    machine.at = [(20_000.0, ask(machine))]
    assert watch(machine, restarts=1, stays=True) == 0
    assert machine.now >= 20_000
    assert kinds(machine) == [("restart", 1), ("gave-up", 1)]


def test_a_machine_that_starts_nothing_for_a_moment_costs_a_restart_and_no_watchdog():
    machine = FakeMachine(
        FakeEngine(10, ends_s=20), FakeEngine(), door=[0, OSError(12, "Cannot allocate memory")]
    )
    machine.at = [(300.0, ask(machine))]
    watch(machine)
    assert kinds(machine) == [("restart", 1), ("restart", 2)]
    assert machine.events[1]["why"] == "it cannot be started: Cannot allocate memory"
    assert "the engine serves again" in machine.said
