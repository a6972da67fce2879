"""What the end-to-end tests share."""

import pytest

from load_parts import FakeEngine


@pytest.fixture
def engine(tmp_path):
    """A streaming engine whose every delay and fault is known, for the tests of load."""
    engine = FakeEngine(tmp_path / "sent.jsonl")
    yield engine
    engine.stop()
