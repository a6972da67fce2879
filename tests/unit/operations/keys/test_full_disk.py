"""Keys that are changed while the disk fills up."""

from contextlib import suppress

import pytest
from tests.unit.operations.keys.conftest import add

from deployctl.errors import NotFoundError, StateError
from deployctl.operations.keys.manage import list_keys, revoke_key
from full_disk import Disk


def test_a_disk_that_is_full_at_each_write_loses_no_key(service, monkeypatch):
    """Of what was added, all opens; of what was not, nothing is there, or what to do is said."""
    service.begins(expose=True)
    disk, opens = Disk(monkeypatch), {"default"}
    for after in range(1, 50):
        disk.fill(after)
        added, said, name = None, "", f"key-{after}"
        try:
            added = add(name)
        except StateError as error:
            said = error.hint
        full = disk.last is not None and disk.written >= disk.last
        disk.free()
        if added is not None:
            opens.add(name)
            assert service.engine.lets_in(added.key) == name
        elif f"deployctl keys revoke tiny {name}" in said:
            with suppress(NotFoundError):
                revoke_key("tiny", name)
        else:
            assert "no key was added" in said
        assert {key.name for key in list_keys("tiny").keys} == opens
        if not full:
            assert after > 3
            break
    disk.fill(2)
    with pytest.raises(StateError):
        revoke_key("tiny", added.name)
    disk.free()
    revoke_key("tiny", added.name)
    assert service.engine.lets_in(added.key) is None
