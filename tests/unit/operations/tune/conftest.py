"""`deployctl tune` in this process, with a bench and a search of known behaviour."""

import sys

import pytest

from deployctl.cli import app
from process_parts import write_checkpoint
from tune_parts import FakeBench, GridSearch


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a checkpoint `tiny`, and records of its own."""
    write_checkpoint(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DEPLOYCTL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


class Bench(FakeBench):
    """In the place of EngineBench. `made` holds every one."""

    made: list
    faults_of_next: dict

    def __init__(self, plans, **given):
        super().__init__(type(self).faults_of_next)
        self.plans, self.given = plans, given
        type(self).made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


@pytest.fixture
def bench(monkeypatch):
    Bench.made, Bench.faults_of_next = [], {}
    monkeypatch.setattr("deployctl.tuning.enginebench.EngineBench", Bench)
    monkeypatch.setattr("deployctl.tuning.search.strategy", lambda problem: GridSearch())
    return Bench


@pytest.fixture
def tune(place, monkeypatch, capsys):
    """Runs the command line in this process: `tune(*words)` gives code, stdout and stderr."""

    def run(*words, model=True):
        own = ["--model", "./tiny", "--gpu", "cpu"] if model else []
        monkeypatch.setattr(sys, "argv", ["deployctl", "tune", *own, *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            app.main()
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        assert "a bug in deployctl" not in told.err
        return caught.value.code, told.out, told.err

    return run
