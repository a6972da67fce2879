from types import SimpleNamespace

import pytest

from deployctl.operations.measure import runs as measuring
from deployctl_loadtest.result import Setup

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
