"""What is known of all services, where a place that may have some cannot be asked."""

import pytest

from deployctl.errors import TargetError
from deployctl.operations.deploy import services
from deployctl.spec.settings import Settings
from deployctl.targets import open_store
from deployctl.targets.store import ServiceRef


@pytest.mark.parametrize("status", ["removed", "failed"])
def test_removed_services_are_no_reason_not_to_say_that_docker_cannot_be_asked(
    make_release, tmp_path, monkeypatch, status
):
    """`status` said that there is no service, exit 0: another state folder's may serve there."""
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    store = open_store(Settings())
    store.save(ServiceRef("process", "tiny"), make_release(status=status))
    if status == "removed":
        with pytest.raises(TargetError, match="whether there is a service is not known: Docker"):
            services.status()
        assert services.status(target="process") == []
    else:
        assert [seen.service for seen in services.status()] == ["tiny"]
