"""Two replicas of a real vLLM under load: what clients meet while pods come and go.

One deployment for all tests of this file, each of which leaves two pods that serve.
"""

import subprocess
import time

import pytest
from tests.e2e.docker_parts import until
from tests.e2e.kubernetes.asking import KINDS, TIMEOUT_S
from tests.e2e.kubernetes.namespaces import Namespace
from tests.e2e.kubernetes.traffic import (
    Clients,
    addresses,
    drain_node_of,
    hang,
    signalled,
    until_serving,
    update_under,
)

pytestmark = pytest.mark.vllm

LEAVES_S = 60  # a hung engine, from its last token
# A restart by the tests' own clock, and not after ten minutes; readiness is as it always is.
PROBES = {"probes": {"stallSeconds": 100, "livenessPeriodSeconds": 5, "livenessFailures": 3}}


@pytest.fixture(scope="module")
def served(cluster, vllm_image, tiny_checkpoint, tmp_path_factory):
    served = Namespace.made(cluster, tmp_path_factory.mktemp("serving"))
    own = ("--replicas", "2", "--startup-timeout", 1800)
    served.words(vllm_image, tiny_checkpoint, *own, name=served.name, values=PROBES)
    try:
        served.up()
        until_serving(served, 2)
        yield served
    finally:
        served.end()


@pytest.fixture(scope="module")
def clients(served, fake_image, tiny_checkpoint):
    return Clients(served, fake_image, tiny_checkpoint.name)


def test_the_service_test_passes_and_a_second_up_changes_nothing(served):
    pods = served.engines()
    tested = subprocess.run(
        ["helm", "test", served.service, "--namespace", served.name],
        capture_output=True, text=True, timeout=300, env=served.environment,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "unchanged" in served.up().stderr
    assert served.engines() == pods


@pytest.mark.night  # with a fake engine, at every change: test_rollout.py
def test_an_update_loses_no_request_on_new_connections_nor_on_kept_ones(served, clients):
    update_under(clients, served)


def test_a_hung_engine_leaves_the_service_within_a_minute(served, clients):
    hung = min(served.engines())
    with clients:
        core = hang(served, hung)
        begun = time.monotonic()
        until(lambda: hung not in addresses(served), seconds=3 * LEAVES_S, what="it is out")
        took = time.monotonic() - begun
        signalled(served, hung, core, "SIGCONT")
    assert took < LEAVES_S
    until_serving(served, 2)  # it goes on, and so is back
    assert served.engines()[hung] == 0


@pytest.mark.night
def test_a_drained_node_loses_no_request(served, clients):
    with clients:
        drain_node_of(served, min(served.engines()))
        until_serving(served, 2)
    assert clients.told["failed"] == []


@pytest.mark.night
def test_an_engine_that_is_killed_is_restarted(served):
    killed = min(served.engines())
    script = "import os, pathlib, signal; [os.kill(int(p.name), signal.SIGKILL) for p in pathlib.Path('/proc').iterdir() if p.name.isdigit() and 'EngineCor' in (p / 'comm').read_text()]"  # noqa: E501
    served.kubectl("exec", killed, "--", "python3", "-c", script)
    until(lambda: served.engines()[killed] == 1, seconds=120, what="its container restarts")
    until_serving(served, 2)


@pytest.mark.night
def test_if_all_hang_clients_are_refused_until_one_is_restarted(served, clients):
    pods = served.engines()
    with clients:
        for pod in pods:
            hang(served, pod)
        hung = time.monotonic()
        until(lambda: not addresses(served), seconds=3 * LEAVES_S, what="all are out")
        # What was asked of a hung engine has run out of time by then, and is asked anew.
        time.sleep(max(5, hung + TIMEOUT_S + 10 - time.monotonic()))
        assert not addresses(served)
    refused = [one for one in clients.told["failed"] if "ConnectionRefused" in one["failed"]]
    assert {one["kind"] for one in refused} == set(KINDS)
    # At once, but for those who come too often: a node's kernel tells an address about once a
    # second that nobody listens (icmp_ratelimit), and asks anew for the rest after 1, 2, 4, 8 s.
    assert min(one["seconds"] for one in refused) < 1
    assert max(one["seconds"] for one in refused) < TIMEOUT_S
    until(lambda: sum(served.engines().values()) == 2 + sum(pods.values()), seconds=300,
          what="both are restarted")  # fmt: skip
    until_serving(served, 2)
    with clients:
        time.sleep(10)
    assert clients.told["failed"] == []
