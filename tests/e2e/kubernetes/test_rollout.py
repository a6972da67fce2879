"""Pods that come and go under load: no request fails, on new connections or on kept ones.

The engine is a fake, so that what is shown is Kubernetes, the chart and the door; test_serving.py
has real engines.
"""

import pytest
from tests.e2e.kubernetes.traffic import Clients, drain_node_of, until_serving, update_under

OWN = {
    "engine": {"env": {"FAKE_ENGINE_KEEPS": "1"}},
    "drain": {"preStopSeconds": 15, "gracePeriodSeconds": 75},  # the chart's own
}


@pytest.fixture
def served(namespace, fake_image, tiny_checkpoint):
    own = ("--replicas", "2")
    namespace.words(fake_image, tiny_checkpoint, *own, name=namespace.name, values=OWN)
    namespace.up()
    until_serving(namespace, 2)
    return namespace


def test_no_request_is_lost_in_an_update_nor_in_a_drain(served, fake_image, tiny_checkpoint):
    clients = Clients(served, fake_image, tiny_checkpoint.name)
    update_under(clients, served)
    with clients:
        drain_node_of(served, min(served.engines()))
        until_serving(served, 2)
    assert clients.told["failed"] == []
