"""The locks of cards: all of an engine's, or none; and of one that was killed, none."""

import subprocess
import sys
import time

import engine_parent
from engine_turn import Turn
from engine_watchdog import Settings


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
