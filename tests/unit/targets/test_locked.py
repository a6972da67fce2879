"""What is done under a service's lock, on a driver that is all memory; and who signed it."""

import json
import os

import pytest

from deployctl.errors import LockedError
from deployctl.targets.guards import lock, signer_lives
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


@pytest.mark.parametrize(
    ("changed", "lives"),
    [({}, True), ({"start": 1}, False), ({"boot": "another"}, False), ({"pid": 2**22 + 1}, False)],
)
def test_whoever_has_the_pid_of_the_signer_now_did_not_sign(tmp_path, changed, lives):
    """After a restart of the machine pids begin anew."""
    assert not signer_lives(tmp_path)
    with lock(tmp_path, "tiny", "deployctl up"):
        pass
    signed = json.loads((tmp_path / "lock").read_text())
    (tmp_path / "lock").write_text(json.dumps({**signed, **changed}))
    assert signer_lives(tmp_path) is lives


@pytest.mark.parametrize("signed", ["", "[]", '{"pid": "x"}', '{"pid": OURS}'])
def test_one_who_cannot_be_told_may_live(tmp_path, signed):
    """Its disk was full; or an earlier deployctl signed with its pid alone."""
    (tmp_path / "lock").write_text(signed.replace("OURS", str(os.getpid())))
    assert signer_lives(tmp_path)
