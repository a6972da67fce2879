"""Monitoring watches what a change left, whatever came of it."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from deployctl.errors import (
    EngineError,
    InputError,
    InterruptedByUserError,
    SloMissedError,
    TargetError,
)
from deployctl.operations.deploy import deployment
from deployctl.operations.deploy.deployment import Deployment
from deployctl.spec import ServiceSpec


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
    told, wanted = [], Deployment(ServiceSpec(model="m"))

    def changed(*_):
        assert told == []
        if error is not None:
            raise error("no")

    monkeypatch.setattr(deployment, "_up", changed)
    monkeypatch.setattr(deployment, "keep_in_step", told.append)
    if error is None:
        deployment.up(wanted, "tell")
    else:
        with pytest.raises(error):
            deployment.up(wanted, "tell")
    assert told == ["tell"] * times


def test_a_service_that_is_down_is_missed_by_nobody_where_the_gateway_has_a_trouble(monkeypatch):
    told, ref = [], SimpleNamespace(target="process")

    def down(*, volumes):
        raise TargetError("tiny is down, and the gateway has a trouble")

    store = SimpleNamespace(find=lambda *_: ref)
    announcer = SimpleNamespace(change=lambda *_: nullcontext())
    monkeypatch.setattr(deployment, "open_store", lambda spec: (None, store))
    monkeypatch.setattr(deployment, "open_driver", lambda *_: None)
    monkeypatch.setattr(deployment, "Announcer", lambda *_: announcer)
    monkeypatch.setattr(deployment, "_rollout", lambda *_: SimpleNamespace(down=down))
    monkeypatch.setattr(deployment, "keep_in_step", told.append)
    with pytest.raises(TargetError, match="a trouble"):
        deployment.down("tiny", tell="tell")
    assert told == ["tell"]
