"""The lock on the engine: one holds it, and of one that was killed it is taken."""

import re
import subprocess
from datetime import timedelta

import pytest
from tests.unit.targets_docker.memory import Killed, MemoryCarriers

from deployctl.errors import DockerError, LockedError, StateError
from deployctl.targets.docker import enginelock
from deployctl.targets.docker.enginelock import HOLDER, held, name_of

NAME = name_of("tiny")


@pytest.fixture
def carriers():
    return MemoryCarriers()


@pytest.fixture
def told():
    return []


@pytest.fixture
def lock(carriers, told):
    return lambda command="deployctl up": held(carriers, "tiny", command, told.append)


def test_the_second_is_told_who_has_it_and_since_when(lock, carriers):
    with lock("deployctl rollback"), pytest.raises(LockedError) as caught, lock():
        pass
    said = r"tiny is being changed by deployctl rollback \(\S+@\S+, pid \d+\), since 2026-11-24T07:"
    assert re.match(said, caught.value.message)
    assert NAME in caught.value.where
    assert carriers.made == {}
    with lock():
        pass


def test_the_gateways_is_said_to_be_one_thing(carriers, told):
    words = (carriers, "host", "gateway", told.append)
    taken = enginelock.held_shortly(*words, patience_s=0)
    with taken, pytest.raises(LockedError, match="the gateway of host is being changed by"):
        enginelock.held_shortly(*words, patience_s=0).__enter__()


def test_the_cards_are_lost_to_one_who_took_them_meanwhile(carriers):
    first, second = (enginelock.cards_held(carriers, f"deployctl {n}") for n in ("1", "2"))
    with first as check:
        check()
        carriers.prune()
        check()  # it has them again
        carriers.prune()
        with second, pytest.raises(LockedError, match=r"cards of host are being .* deployctl 2"):
            check()
        check()
    assert carriers.made == {}


def test_it_is_let_go_of_whatever_happens(lock, carriers):
    with pytest.raises(KeyboardInterrupt), lock():
        raise KeyboardInterrupt
    assert carriers.made == {}


def test_of_one_that_was_killed_here_it_is_taken_at_once(lock, carriers, told):
    with lock():
        ended = subprocess.Popen(["true"])
        ended.wait()
        labels = carriers.made[NAME][0].labels
        labels[HOLDER] = re.sub(r"pid \d+", f"pid {ended.pid}", labels[HOLDER])
        with lock("deployctl down"):
            assert "deployctl down" in carriers.made[NAME][0].labels[HOLDER]
    assert re.match(r"deployctl up \(.*\), since .* was killed; its lock is taken", told[0].text)


def test_of_one_that_is_not_heard_of_it_is_over_after_half_a_minute(lock, carriers, told):
    with pytest.raises(Killed), lock():
        carriers.fuse = 0
    carriers.alive()
    carriers.clock -= timedelta(seconds=2)
    with pytest.raises(LockedError), lock():
        pass
    carriers.clock += timedelta(seconds=2)
    with lock():
        pass
    assert "was killed" in told[0].text


def test_a_sign_of_life_keeps_it(lock, carriers):
    with lock():
        later = carriers.clock + timedelta(seconds=25)
        carriers.write(NAME, "/", {"at-work": later.isoformat().encode()})
        carriers.clock += timedelta(seconds=50)
        with pytest.raises(LockedError), lock():
            pass
        carriers.clock += timedelta(seconds=6)
        with lock():
            pass


def test_a_holder_gives_signs_by_the_engine_s_clock(lock, carriers, monkeypatch):
    monkeypatch.setattr(enginelock, "BEAT_S", 0.001)
    with lock():
        while (said := carriers.read(NAME, "/at-work")) is None:
            pass
    assert said[""].startswith(b"2026-11-24T07:00:0")


def test_a_holder_whose_machine_slept_or_whose_engine_s_clock_was_set_is_heard(
    lock, carriers, monkeypatch
):
    monkeypatch.setattr(enginelock, "BEAT_S", 0.001)
    with lock():
        for hours in (1, -2):
            carriers.clock += timedelta(hours=hours)
            said = carriers.clock.isoformat().encode()
            while carriers.read(NAME, "/at-work") != {"": said}:
                pass
            with pytest.raises(LockedError), lock():
                pass


def test_of_one_that_was_killed_before_the_clock_was_set_back_it_is_over(lock, carriers):
    with pytest.raises(Killed), lock():
        carriers.fuse = 0
    carriers.alive()
    carriers.clock -= timedelta(hours=3)
    with lock():
        pass


@pytest.mark.parametrize("error", [DockerError("away"), ValueError("a bug of a library's")])
def test_an_engine_that_is_away_for_a_sign_ends_nothing(lock, carriers, monkeypatch, error):
    monkeypatch.setattr(enginelock, "BEAT_S", 0.001)
    failed = []

    def away(*args):
        failed.append(args)
        raise error

    carriers.write = away
    with lock():
        while len(failed) < 3:
            pass


def test_one_that_was_taken_again_is_let_go_of_where_nobody_can_say_what_became_of_the_service(
    carriers, told
):
    answers = [DockerError("away"), StateError("the records are of a newer deployctl"), True]

    def as_we_left_it():
        answer = answers.pop(0)
        if answer is not True:
            raise answer
        return answer

    ours = held(carriers, "tiny", "deployctl up", told.append, as_we_left_it=as_we_left_it)
    with ours as check:
        carriers.prune()
        for error in (DockerError, StateError):
            with pytest.raises(error):
                check()
            assert carriers.made == {}
        check()  # it is asked again, and now there is an answer
        assert NAME in carriers.made
    assert (carriers.made, answers) == ({}, [])


def test_one_that_was_pruned_is_made_again_and_one_that_was_taken_is_lost(lock, carriers):
    with lock() as check:
        check()
        carriers.prune()
        check()
        assert NAME in carriers.made
        carriers.prune()
        with lock("deployctl down"), pytest.raises(LockedError, match="deployctl down"):
            check()
