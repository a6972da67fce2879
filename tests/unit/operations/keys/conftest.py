"""A service whose keys are changed."""

import pytest

from deployctl.operations.keys import place
from deployctl.targets import keys
from deployctl.targets.store import Store
from keys_parts import Service


@pytest.fixture
def service(tmp_path, make_release, monkeypatch):
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    service = Service(Store(tmp_path / "state"), make_release)
    monkeypatch.setattr(place, "open_driver", lambda target, settings: service.engine)
    monkeypatch.setattr(keys, "SEEN_S", 0.0)
    return service
