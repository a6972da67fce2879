"""Each mistake, made alone in a good set of manifests, is caught under its own code."""

import pytest

from mistakes import MISTAKES


def test_the_good_set_is_good(spoilt, found):
    assert found(spoilt.text) == []


@pytest.mark.parametrize("given", MISTAKES, ids=lambda m: m.name)
def test_a_mistake_is_caught_under_its_own_code(given, spoilt, codes):
    given.spoil(spoilt)
    caught = codes(spoilt.text)
    assert given.code in caught
    assert caught <= {given.code} | given.also


def test_there_are_more_than_thirty():
    assert len({m.code for m in MISTAKES}) > 50
