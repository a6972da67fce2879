"""Which services monitoring watches."""

import pytest

from deployctl.errors import TargetError
from deployctl.operations.monitoring import stack
from deployctl.spec.settings import Settings
from deployctl.targets.store import ServiceRef


class Records:
    """A service of each target; the cluster is not there."""

    def services(self, target=None):
        if target in (None, "kubernetes"):
            raise TargetError("the cluster does not answer")
        return [ServiceRef(target, f"on-{target}")]

    def others(self):
        return [ServiceRef("docker", "of-another")]


@pytest.fixture
def looked_at(monkeypatch):
    """The services that were looked at."""
    found = []
    monkeypatch.setattr(stack, "open_store", lambda settings: Records())
    monkeypatch.setattr(stack, "_service", lambda settings, store, ref: found.append(ref.service))
    return found


def test_a_cluster_that_is_away_keeps_no_host_from_being_watched(looked_at):
    assert stack._services(Settings(), lambda event: None) == []
    assert looked_at == ["on-docker", "on-process", "of-another"]
