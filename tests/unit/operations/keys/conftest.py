"""A service whose keys are changed."""

from datetime import UTC, datetime

import pytest

from deployctl.operations.keys import place
from deployctl.operations.keys.manage import add_key, list_keys
from deployctl.operations.keys.request import KeyRequest
from deployctl.targets import keys
from deployctl.targets.store import Store
from keys_parts import Service

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)


def add(name, service="tiny", **request):
    return add_key(service, name, KeyRequest(**request), now=lambda: NOW)


def states(**where):
    return {key.name: key.state for key in list_keys(now=lambda: NOW, **where).keys}


@pytest.fixture
def service(tmp_path, make_release, monkeypatch):
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    service = Service(Store(tmp_path / "state"), make_release)
    monkeypatch.setattr(place, "open_driver", lambda target, settings: service.engine)
    monkeypatch.setattr(keys, "SEEN_S", 0.0)
    return service
