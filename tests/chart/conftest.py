"""Objects that the chart makes, for the tests of a file to share."""

import pytest

from chart.helmtool import MAXIMAL, objects


@pytest.fixture(scope="module")
def small():
    """Those of the chart's own values."""
    return objects()


@pytest.fixture(scope="module")
def large():
    """Those of values that turn everything on."""
    return objects(files=[MAXIMAL])
