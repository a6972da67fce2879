"""The master's end of a load by several processes: when it is over."""

from types import SimpleNamespace

import pytest

from deployctl_loadtest.handover import COUNTS, Gathering


@pytest.fixture
def gathered():
    """A run of two workers whose master looks at them only when it is asked to."""
    clients = [SimpleNamespace(id=name, state="running") for name in ("first", "second")]
    options = SimpleNamespace(samples="", seed=1, epoch=0.0, share=0, stop_after=0, progress=False)
    runner = SimpleNamespace(clients=SimpleNamespace(ready=clients, all=clients))
    gathering = Gathering(SimpleNamespace(runner=runner, parsed_options=options))
    gathering.close()
    yield gathering, clients
    gathering.close()


def says(gathering, client, finished):
    gathering.receive(COUNTS, client, {"at_s": 1.0, "finished": finished})


def test_a_worker_that_has_said_nothing_yet_is_waited_for(gathered):
    gathering, _ = gathered
    says(gathering, "first", True)
    assert not gathering.finished()
    says(gathering, "second", False)
    assert not gathering.finished()
    says(gathering, "second", True)
    assert gathering.finished()


def test_one_that_went_missing_is_not(gathered):
    gathering, clients = gathered
    says(gathering, "first", True)
    clients[1].state = "missing"
    assert gathering.finished()
    clients[0].state = "missing"
    assert not gathering.finished()  # nobody is left to say so
