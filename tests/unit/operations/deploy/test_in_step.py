"""Monitoring watches what a change left, whatever came of it."""

import pytest

from deployctl.errors import EngineError, InputError, InterruptedByUserError, SloMissedError
from deployctl.operations.deploy import deployment


@pytest.mark.parametrize(
    ("error", "times"),
    [
        (None, 1),
        (EngineError, 1),
        (SloMissedError, 1),
        (InterruptedByUserError, 1),
        (InputError, 0),
    ],
)
def test_it_is_told_wherever_something_may_have_changed(monkeypatch, error, times):
    told = []

    def changed(*_):
        assert told == []
        if error is not None:
            raise error("no")

    monkeypatch.setattr(deployment, "_up", changed)
    monkeypatch.setattr(deployment, "keep_in_step", told.append)
    if error is None:
        deployment.up("a deployment", "tell")
    else:
        with pytest.raises(error):
            deployment.up("a deployment", "tell")
    assert told == ["tell"] * times
