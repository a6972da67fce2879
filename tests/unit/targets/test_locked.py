"""What is done under a service's lock, on a driver that is all memory."""

import pytest

from deployctl.errors import LockedError
from deployctl.targets.guards import lock
from deployctl.targets.store import ServiceRef

REF = ServiceRef("process", "tiny")


def test_a_take_over_is_under_the_lock_too(world):
    with (
        lock(world.store.folder(REF), "tiny", "deployctl down"),
        pytest.raises(LockedError, match="deployctl down"),
    ):
        world.rollout().take_over()
    assert world.driver.did == []
    world.rollout().take_over()
    assert world.driver.did == [("take over", "tiny")]
