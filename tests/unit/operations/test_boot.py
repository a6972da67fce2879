"""The unit of systemd: what it has of the shell that made it; tests/e2e has systemd read it. And
what others change of services while it starts one after the other.
"""

import sys
from types import SimpleNamespace

import pytest

from deployctl.operations import boot
from deployctl.operations.boot import StartedAgain, unit
from deployctl.targets.store import ServiceRef, Store


@pytest.fixture
def made(monkeypatch, tmp_path):
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/opt/$my 100%/python")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:hush@mirror")
    monkeypatch.setenv("HF_TOKEN", "hush")
    return unit()


def test_an_engine_has_the_card_that_it_had(made):
    assert 'Environment="CUDA_VISIBLE_DEVICES=1"\n' in made


def test_no_secret_is_in_it(made):
    assert "hush" not in made


def test_a_dollar_in_the_programs_path_is_one(made):
    """systemd expands the words after it alone: with two it finds no program."""
    assert 'ExecStart="/opt/$my 100%%/python" -m deployctl boot --start\n' in made


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
    assert boot.start() == [StartedAgain("a", 1), StartedAgain("d", 1)]
    assert begun == [("a", 1), ("d", 1)]
