"""Waiting for the parts of monitoring."""

import pytest

from deployctl.operations.monitoring import ready
from deployctl.render.monitoring.stack import StackSettings

NAME = "prometheus_config_last_reload_success_timestamp_seconds"


@pytest.mark.parametrize(
    ("page", "has_read"),
    [(f"{NAME} 20\n", True), (f"{NAME} 5\n", False), (f"{NAME} soon\n", False), (None, False)],
)
def test_a_part_has_read_its_files_when_it_says_so(monkeypatch, page, has_read):
    monkeypatch.setattr(ready, "_page", lambda settings, part, path: page)
    assert ready._read_since(StackSettings(), "prometheus", 10.0) is has_read
