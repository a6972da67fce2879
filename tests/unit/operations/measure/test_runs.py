import dataclasses
from types import SimpleNamespace

import pytest

from deployctl.load import slo
from deployctl.load.run import Measurement
from deployctl.operations.measure import runs as measuring
from deployctl_loadtest.result import Setup
from verdict_parts import HELD, MISSED, made

SETUP = Setup(None, "http://h:1", "m", "chat", 900, 10, 0, 10, 5, True, 1, 60)


def measured(monkeypatch, tmp_path, needs):
    """Runs with `measure` replaced by one that wants `needs` workers; returns their numbers."""
    runs = []

    def measure(setup, endpoint, folder, *, slo, gated, tell):
        runs.append(setup.workers)
        where = folder or tmp_path / "out"
        where.mkdir()
        wanted = needs if setup.workers < needs else None
        client = SimpleNamespace(workers_needed=wanted)
        result = SimpleNamespace(client=client, interrupted=False)
        return SimpleNamespace(result=result, folder=where)

    monkeypatch.setattr(measuring, "measure", measure)
    monkeypatch.setattr(measuring.host, "cores", lambda: 4)
    measured = measuring.measure_with_enough_workers(SETUP, None, tmp_path / "out")
    assert measured.folder == tmp_path / "out"
    return runs


@pytest.mark.parametrize(("needs", "runs"), [(1, [1]), (3, [1, 3]), (9, [1, 4])])
def test_too_few_workers_are_followed_by_enough_or_as_many_as_there_are_cores(
    monkeypatch, tmp_path, needs, runs
):
    assert measured(monkeypatch, tmp_path, needs) == runs
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == (["out"] if len(runs) == 1 else ["out", "out-workers-1"])


@pytest.mark.parametrize(
    ("interrupt", "loads", "status", "ends"),
    [
        (None, [4, 8, 6, 5], "found", (5, 6)),
        (3, [4, 8, 6], "interrupted", (4, 8)),
    ],
)
def test_a_search_measures_what_it_is_asked_until_it_ends_or_is_interrupted(
    monkeypatch, tmp_path, interrupt, loads, status, ends
):
    def measure(setup, endpoint, folder, *, slo, tell):
        tried.append(setup.users)
        result, samples = made(HELD if setup.users < 6 else MISSED)
        interrupted = len(tried) == interrupt
        return Measurement(
            dataclasses.replace(result, interrupted=interrupted), samples, [], folder
        )

    tried = []
    setup = dataclasses.replace(SETUP, users=4)
    monkeypatch.setattr(measuring, "measure", measure)
    series, folder = measuring.find_max(
        setup, None, tmp_path / "out", slo.parse(HELD), by_users=True
    )
    assert tried == loads
    assert (series.limit.status, series.limit.holds, series.limit.breaks) == (status, *ends)
    assert series.interrupted == bool(interrupt)
    assert (folder / "series.json").exists()
