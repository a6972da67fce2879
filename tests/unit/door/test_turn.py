"""The locks of cards: all of an engine's, or none; and of one that was killed, none."""

import signal
import subprocess
import sys
import time

import pytest

import engine_parent
from engine_turn import Turn
from engine_watchdog import Settings
from unit.door.test_watchdog import FakeEngine, FakeMachine, ask, watch


class Turns(FakeMachine):
    """One on whose card another loads, until the second `turn`."""

    has_turn, turn = False, 0.0

    def take_turn(self):
        self.has_turn = self.now >= self.turn
        return self.has_turn

    def leave_turn(self):
        if self.has_turn:
            self.left.append(self.now)
        self.has_turn = False

    def __init__(self, *engines):
        super().__init__(*engines)
        self.left = []


def test_of_two_on_a_card_one_has_its_turn(tmp_path):
    first, second = Turn(str(tmp_path), ["0"]), Turn(str(tmp_path), ["0"])
    apart = Turn(str(tmp_path), ["1"])
    assert first.take()
    assert first.take()  # it has it already
    assert not second.take()
    assert apart.take()
    first.leave()
    first.leave()
    assert second.take()


def test_who_cannot_have_all_its_cards_holds_none_of_them(tmp_path):
    """Two that each held one of two cards would wait for ever."""
    both, one, other = (Turn(str(tmp_path), cards) for cards in (["0", "1"], ["1"], ["0"]))
    assert one.take()
    assert not both.take()
    assert other.take()
    other.leave()
    one.leave()
    assert both.take()
    assert not other.take()


def test_whose_cards_are_its_own_never_waits():
    assert Turn("", []).take()
    assert Turn("/nowhere", []).take()


def test_the_kernel_takes_it_from_who_was_killed(tmp_path):
    words = "import sys, time; sys.path.insert(0, sys.argv[1]); import engine_turn as e; "
    words += "t = e.Turn(sys.argv[2], ['0']); print(t.take(), flush=True); time.sleep(600)"
    folder = engine_parent.__file__.rpartition("/")[0]
    holder = subprocess.Popen(
        [sys.executable, "-c", words, folder, str(tmp_path)], stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"True\n"
        mine = Turn(str(tmp_path), ["0"])
        assert not mine.take()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    end = time.monotonic() + 30
    while not mine.take():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_files_that_are_there_are_enough_and_without_a_folder_it_loads_all_the_same(
    tmp_path, monkeypatch, capfd
):
    """In a container the folder is there to be read alone; in one that was rendered and brought up
    by hand there is none."""
    (tmp_path / "card-0").touch(0o444)
    tmp_path.chmod(0o555)
    assert Turn(str(tmp_path), ["0"]).take()
    monkeypatch.setattr(engine_parent.Machine, "__init__", lambda self, _: None)
    machine = engine_parent.Machine(Settings(1, "e"))
    machine._output, machine._turn = None, Turn(str(tmp_path / "gone"), ["0"])
    assert machine.take_turn()
    assert "the engine waits for no other that loads on its card: " in capfd.readouterr().err


def test_it_loads_when_it_is_its_turn_and_leaves_that_once_it_is_ready():
    machine = Turns(FakeEngine(30, ends_s=100, code=-9), FakeEngine(10, ends_s=600))
    machine.turn = 50.0
    watch(machine, restarts=1)
    assert machine.begun[0].begun == 50.0
    assert machine.said[:2] == [
        "the engine waits for its turn: another loads on its card",
        "it is the engine's turn",
    ]
    first, second = machine.left
    assert 80 <= first <= 85  # by the first look at one that is ready
    assert second >= machine.begun[1].begun + 10


@pytest.mark.parametrize("end", ["asked", "drained"])
def test_one_that_waits_for_its_turn_ends_when_it_is_told_to(end):
    machine = Turns(FakeEngine())
    machine.turn = 10_000.0
    machine.at = [
        (40.0, ask(machine) if end == "asked" else lambda: setattr(machine, "drained", 1))
    ]
    assert watch(machine) == -signal.SIGTERM
    assert not machine.begun
    assert machine.now < 45


def test_one_that_loads_for_ever_or_dies_keeps_no_other_waiting():
    machine = Turns(FakeEngine(10_000, ends_s=2_000))
    watch(machine, start_s=600.0)
    assert 600 <= machine.left[0] <= 610
    machine = Turns(FakeEngine(100, ends_s=20, code=1))
    watch(machine)
    assert 20 <= machine.left[0] <= 25
    machine = Turns(OSError(2, "No such file"))
    watch(machine)
    assert machine.left == [0.0]
