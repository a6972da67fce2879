"""The unit of systemd: what it has of the shell that made it; tests/e2e has systemd read it. And
what others change of services while it starts one after the other.
"""

import re
import shlex
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from tests.unit.targets.gateways import ADDRESS, Machine, wanting

from deployctl.errors import InterruptedByUserError, TargetError
from deployctl.operations import boot
from deployctl.operations.boot import Became, unit
from deployctl.render.gateway import GRACE_S as GATEWAY_GRACE_S
from deployctl.render.gateway import HELD
from deployctl.targets.drain import ARRIVES_S, DRAIN_S, NOTICE_S
from deployctl.targets.guards import lock, sign_off, signer_lives
from deployctl.targets.process.driver import CHILD_GRACE_S, SUPERVISED_S
from deployctl.targets.process.runs import run_of
from deployctl.targets.store import ServiceRef, Store


@pytest.fixture
def made(monkeypatch, tmp_path):
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/opt/$my 100%/python")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:hush@mirror")
    monkeypatch.setenv("HF_TOKEN", "hush")
    return unit().text


def test_an_engine_has_the_card_that_it_had(made):
    assert 'Environment="CUDA_VISIBLE_DEVICES=1"\n' in made


def test_no_secret_is_in_it(made):
    assert "hush" not in made


def test_a_dollar_in_the_programs_path_is_one(made):
    """systemd expands the words after it alone: with two it finds no program."""
    assert 'ExecStart="/opt/$my 100%%/python" -m deployctl boot --start --tries 6\n' in made


def test_it_waits_for_a_disk_that_comes_late(monkeypatch, tmp_path):
    """systemd found no Python there, and tried no more (203/EXEC); or no records, and started
    nothing."""
    python, state = tmp_path / "a $disk of 100%" / "python", tmp_path / "state"
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(state))
    monkeypatch.setattr(sys, "executable", str(python))
    [line] = re.findall(r"^ExecStartPre=(.*)$", unit().text, re.MULTILINE)
    words = shlex.split(line.replace("$$", "$").replace("%%", "%"))
    assert words[-3] == str(python)
    assert words[-1] == str(state)
    assert words[-1] in unit().text.partition("ExecStart=")[0]
    assert first_said(words) == f"waiting for {python}\n"
    python.parent.mkdir()
    python.touch()
    assert subprocess.run(words, capture_output=True, text=True, timeout=60).stdout == ""
    (state / "process").mkdir()  # there are records: an empty folder is where the disk will be
    assert f'"{state}/process"\n' in unit().text


def first_said(words):
    """By what waits still."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as waits:
        said = waits.stdout.readline()
        assert waits.poll() is None
        waits.kill()
    return said


def test_it_does_not_wait_for_where_deployctl_was_before_an_update(monkeypatch, tmp_path):
    """Installed anew for another version of Python it is in another folder."""
    real, there, python = sys.executable, Path(boot.__file__).parents[2], tmp_path / "python"
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(boot, "_PACKAGE", tmp_path / "python3.11" / "deployctl")
    [line] = re.findall(r"^ExecStartPre=(.*)$", unit().text, re.MULTILINE)
    words = shlex.split(line.replace("$$", "$"))
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o700)
    assert first_said(words) == f"waiting for deployctl of {python}\n"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={there} exec {real} "$@"\n')
    assert subprocess.run(words, capture_output=True, text=True, timeout=60).stdout == ""


def test_each_state_folder_has_a_unit_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DEPLOYCTL_STATE_DIR", raising=False)
    assert unit().name == "deployctl.service"
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / ".local" / "state" / "deployctl"))
    assert unit().name == "deployctl.service"
    names = set()
    for folder in ("one", "two"):
        monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / folder))
        names.add(unit().name)
        assert re.fullmatch(r"deployctl-[0-9a-f]{8}\.service", unit().name)
    assert len(names) == 2


def test_services_are_stopped_with_the_machine_whatever_state_the_unit_is_in(made):
    """systemd calls ExecStop= only of what has come up, and one service that fails is no failure of
    the unit."""
    assert 'ExecStopPost="/opt/$my 100%%/python" -m deployctl boot --stop\n' in made
    assert "\nSuccessExitStatus=4\n" in made
    [given] = re.findall(r"^TimeoutStopSec=(\d+)$", made, re.MULTILINE)
    drained = ARRIVES_S + NOTICE_S + DRAIN_S
    engine = boot._LOCKED_S + drained + SUPERVISED_S + CHILD_GRACE_S  # one that has to be killed
    closes = boot._CLOSES * boot._POLL_S
    ends = max(closes + engine, GATEWAY_GRACE_S + 5)
    assert ends + 2 < int(given) < 120  # of user@.service, which ends them all


def test_an_engine_out_of_memory_ends_no_other(made):
    """By default systemd stops a unit of which the kernel has killed a process for its memory."""
    assert "\nOOMPolicy=continue\n" in made


def test_a_start_that_ctrl_c_has_ended_is_not_told_as_a_death(make_release, tmp_path, monkeypatch):
    """`status` said that the engine was gone, and that its log would tell why."""
    store, ref = Store(tmp_path), ServiceRef("process", "a")
    release = make_release(name="a", revision=1, status="deployed")
    store.save(ref, release)
    run = run_of(store.folder(ref), release)
    run.folder.mkdir(parents=True)
    driver = SimpleNamespace(state=lambda release: run.absent(), gateway=None)
    interrupted = Mock(side_effect=InterruptedByUserError("interrupted"))
    monkeypatch.setattr(boot, "open_store", lambda: (None, store))
    monkeypatch.setattr(boot, "open_driver", lambda *_: driver)
    monkeypatch.setattr(boot, "rollback", interrupted)
    with pytest.raises(InterruptedByUserError):
        boot.start()
    state = run.absent()
    assert state.halted
    assert re.match(r"its start was interrupted at 20\S+; deployctl boot --start, or", state.detail)
    run.halt(datetime.now(UTC))
    assert run.absent().detail.startswith("stopped for a shutdown at 20")


def test_what_others_change_while_one_loads_is_left_as_they_have_it(
    make_release, tmp_path, monkeypatch
):
    """A load takes minutes: meanwhile somebody takes one down, and brings another one up."""
    store, runs, begun = Store(tmp_path), set(), []

    def record(name, revision, status):
        release = make_release(name=name, revision=revision, status=status)
        store.save(ServiceRef("process", name), release)

    def rollback(service, revision, **_):
        begun.append((service, revision))
        record("b", 1, "removed")
        record("c", 1, "superseded")
        record("c", 2, "deployed")
        runs.add(("c", 2))

    def state(release):
        there = (release.service, release.revision) in runs
        return SimpleNamespace(condition="running" if there else "dead")

    for name in "abcd":
        record(name, 1, "deployed")
    monkeypatch.setattr(boot, "open_store", lambda: (None, store))
    monkeypatch.setattr(boot, "open_driver", lambda *_: SimpleNamespace(state=state, gateway=None))
    monkeypatch.setattr(boot, "rollback", rollback)
    assert boot.start() == [Became("a", 1), Became("d", 1)]
    assert begun == [("a", 1), ("d", 1)]


def test_all_wait_in_the_gateway_at_once_but_one_that_another_brings_up(
    make_release, tmp_path, monkeypatch
):
    """That one may have answered by now, and nobody would let its requests go again."""
    store, machine = Store(tmp_path), Machine(tmp_path / "gateway")
    waited = {}

    def rollback(service, revision, **_):
        waited[service] = {name: machine.address(name) for name in "abc"}

    for name in "abc":
        release = make_release(name=name, revision=1, status="deployed")
        store.save(ServiceRef("process", name), release)
        machine.gateway.admit(wanting(name), ADDRESS)
    machine.proxy.alive, before = False, len(machine.proxy.loaded)
    driver = SimpleNamespace(
        state=lambda release: SimpleNamespace(condition="dead"), gateway=machine.gateway
    )
    monkeypatch.setattr(boot, "open_store", lambda: (None, store))
    monkeypatch.setattr(boot, "open_driver", lambda *_: driver)
    monkeypatch.setattr(boot, "rollback", rollback)
    with lock(store.folder(ServiceRef("process", "b")), "b", "deployctl up"):
        boot.start()
    assert waited["a"] == {"a": HELD, "b": ADDRESS, "c": HELD}
    assert machine.proxy.alive
    assert len(machine.proxy.loaded) == before + 1
    assert machine.now == 0  # nobody waits for himself
    with lock(store.folder(ServiceRef("process", "a")), "a", "deployctl up"):
        pass  # none was kept


def test_a_proxy_that_has_to_be_told_more_waits_for_none_that_it_holds_itself(tmp_path):
    machine = Machine(tmp_path / "gateway")
    for name in "ab":
        machine.gateway.admit(wanting(name), ADDRESS)
    (tmp_path / "gateway" / "next.json").write_text("{}")  # somebody was stopped while he told it
    machine.gateway.hold_all(["a", "b"])
    assert (machine.address("a"), machine.address("b")) == (HELD, HELD)
    assert machine.now == 0


@pytest.fixture
def fated(make_release, tmp_path, monkeypatch):
    """Services a and b on record, of which each try of `a` has its fate: an error, or None."""
    store, runs, fates = Store(tmp_path), set(), []

    def rollback(service, revision, **_):
        error = fates.pop(0) if service == "a" else None
        if error:
            raise error
        runs.add(service)

    def state(release):
        return SimpleNamespace(condition="running" if release.service in runs else "dead")

    for name in "ab":
        release = make_release(name=name, revision=1, status="deployed")
        store.save(ServiceRef("process", name), release)
    monkeypatch.setattr(boot, "open_store", lambda: (None, store))
    monkeypatch.setattr(boot, "open_driver", lambda *_: SimpleNamespace(state=state, gateway=None))
    monkeypatch.setattr(boot, "rollback", rollback)
    return SimpleNamespace(fates=fates, runs=runs)


def test_one_that_fails_is_tried_again_later_and_the_others_serve_meanwhile(fated):
    fated.fates += [TargetError("its disk is not there"), TargetError("nor now"), None]
    slept, told = [], []

    def sleep(seconds):
        slept.append((seconds, set(fated.runs)))

    assert boot.start(told.append, tries=6, sleep=sleep) == [Became("b", 1), Became("a", 1)]
    assert slept == [(15, {"b"}), (30, {"b"})]
    said = [event.text for event in told if event.kind == "warning"]
    assert said[0] == "a does not serve: its disk is not there; it is tried again in 15 s"


def test_it_is_not_tried_for_ever(fated):
    fated.fates += [TargetError("its disk is not there")] * 3
    slept = []
    became = boot.start(tries=3, sleep=slept.append)
    assert became == [Became("b", 1), Became("a", None, "its disk is not there")]
    assert (slept, fated.fates) == ([15, 30], [])


def test_one_that_another_brought_up_meanwhile_has_not_failed(fated):
    fated.fates.append(TargetError("its disk is not there"))
    assert boot.start(tries=2, sleep=lambda _: fated.runs.add("a")) == [Became("b", 1)]


def test_while_the_others_load_nobody_waits_for_one_that_failed(fated, tmp_path, monkeypatch):
    """An `up` of a third waited for its requests as long as they, or 300 s."""
    folder, seen, rollback = Store(tmp_path).folder(ServiceRef("process", "a")), [], boot.rollback

    def loads(service, *rest, **more):
        seen.append((service, signer_lives(folder)))
        return rollback(service, *rest, **more)

    with lock(folder, "a", "deployctl boot"):
        pass
    fated.fates += [TargetError("its disk is not there")]
    monkeypatch.setattr(boot, "rollback", loads)
    assert len(boot.start()) == 2
    assert seen == [("a", True), ("b", False)]


def test_between_its_tries_nobody_waits_for_one_that_failed(fated, tmp_path):
    """Another `up` waited for its requests, 300 s: boot had signed, and lived."""
    folder, seen = Store(tmp_path).folder(ServiceRef("process", "a")), []
    with lock(folder, "a", "deployctl boot"):
        pass
    assert signer_lives(folder)
    fated.fates += [TargetError("its disk is not there"), None]
    boot.start(tries=2, sleep=lambda _: seen.append(signer_lives(folder)))
    assert seen == [False]
    with lock(folder, "a", "deployctl up"):
        sign_off(folder)
        assert signer_lives(folder)


class Time:
    """Goes when somebody sleeps; wakes `after` seconds."""

    def __init__(self, after=None, wake=lambda: None):
        self.now, self._after, self._wake = 0.0, after, wake

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        if self._after is not None and self.now >= self._after:
            self._after = None
            self._wake()


def test_one_that_another_changes_is_not_stopped_under_it(fated, tmp_path):
    fated.runs.add("a")
    time, told = Time(), []
    with lock(Store(tmp_path).folder(ServiceRef("process", "a")), "a", "deployctl up"):
        [became] = boot.stop(told.append, clock=time.clock, sleep=time.sleep)
    assert (became.service, became.revision) == ("a", None)
    assert became.message.startswith("a is being changed by deployctl up (pid ")
    assert boot._LOCKED_S <= time.now < boot._LOCKED_S + 1
    assert [each.text for each in told] == ["waiting: a is being changed by another deployctl"]


def test_one_that_another_has_changed_in_time_is_stopped_as_it_is_then(
    fated, make_release, tmp_path, monkeypatch
):
    fated.runs.add("a")
    ref, held, ended = ServiceRef("process", "a"), ExitStack(), []
    held.enter_context(lock(Store(tmp_path).folder(ref), "a", "deployctl up"))

    def ends():
        store = Store(tmp_path)
        store.save(ref, make_release(name="a", revision=1, status="superseded"))
        store.save(ref, make_release(name="a", revision=2, status="deployed"))
        held.close()

    time = Time(after=8, wake=ends)
    monkeypatch.setattr(boot.drain, "stop", lambda _, release, *__: ended.append(release.revision))
    assert boot.stop(clock=time.clock, sleep=time.sleep) == [Became("a", 2)]
    assert ended == [2]
