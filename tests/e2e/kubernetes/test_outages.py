"""The cluster's own processes fail while a service changes: `up` rides it out and says for what it
waits, and `status` says what is wrong. Each test puts back what it took.
"""

import json
import os
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.e2e.docker_parts import until
from tests.e2e.kubernetes.background import Begun
from tests.e2e.kubernetes.namespaces import Namespace

pytestmark = pytest.mark.night

ON = ("--target", "kubernetes")
SLOW = ("--env", "FAKE_ENGINE_LOADING_S=8")
CONTROL_PLANE = ("etcd", "kube-apiserver")
STATE = Path(os.environ.get("KUBE_TEST_DIR", "/var/tmp/kube-test"))
CARD = "nodes/{}/var-lib-kubelet/device-plugins/unhealthy-0"


@pytest.fixture(scope="module")
def place(cluster, fake_image, tiny_checkpoint, tmp_path_factory):
    cluster.needs("faults")
    place = Namespace.made(cluster, tmp_path_factory.mktemp("outages"))
    place.words(fake_image, tiny_checkpoint, *SLOW)
    try:
        place.up()
        yield place
    finally:
        place.end()


@contextmanager
def away(cluster, *processes, seconds):
    """Kills them, and starts them again that much later."""
    cluster.fault("stop", "--kill", *processes)
    try:
        time.sleep(seconds)
    finally:
        cluster.fault("start", *processes)
    until(
        lambda: cluster.kubectl("get", "--raw=/readyz", check=False) == "ok",
        seconds=60,
        what="the API server is back",
    )
    yield
    if cluster.has("scaledobjects.keda.sh"):
        cluster.fault("start", "keda-operator")  # it ends where it cannot renew its lease


def assert_serves(place, number):
    assert place.history()[-1] == "deployed"
    assert place.history().count("deployed") == 1
    (pod,) = place.get("pods")
    assert f"--max-num-seqs {number}" in json.dumps(pod["spec"]).replace('", "', " ")
    assert place.status(place.service)["health"] == "serving"


@pytest.mark.parametrize(
    ("number", "says", "seconds"),
    [
        (4, "target kubernetes", 5),  # before anything is changed
        (5, "helm upgrade", 5),
        (6, "the engine starts", 5),
        (7, "the engine starts", 60),
    ],
)
def test_the_api_server_and_etcd_are_away_while_a_service_changes(place, number, says, seconds):
    words = ("--max-num-seqs", number)
    with Begun(place, "up", *place.given, *words) as begun:
        begun.until(says)
        with away(place.cluster, *CONTROL_PLANE, seconds=seconds):
            begun.ends()
    print(begun.said)
    if seconds > 10:
        assert "waiting: the cluster's API server does not answer" in begun.said
    assert_serves(place, number)


def of_service(place, name):
    """Its pods and claims, those that end among them."""
    selector = f"--selector=app.kubernetes.io/instance={name}"
    return set(place.kubectl("get", "pods,pvc", selector, "-o", "name").split())


def assert_goes_down(place, name, node):
    """Of a service whose node is cut off: what stays is said, and not waited for."""
    begun = time.monotonic()
    told = place("down", name, "--volumes", *ON).stderr
    assert time.monotonic() - begun < 60
    assert f"its node {node} does not report (NotReady)" in told
    assert f"claim {name}-cache goes with the last pod that has it" in told
    kinds = sorted(each.partition("/")[0] for each in of_service(place, name))
    assert kinds == ["persistentvolumeclaim", "pod"]
    assert not [each for each in place.belongings() if name in each and "claim" not in each]


def test_a_node_that_is_cut_off(place, fake_image, tiny_checkpoint):
    cluster = place.cluster
    node = sorted(cluster.nodes())[-1]
    there = {"scheduling": {"nodeSelector": {"kubernetes.io/hostname": node}}}
    cached = {**there, "cache": {"enabled": True, "size": "1Gi"}}
    place.words(fake_image, tiny_checkpoint, name="leaving", values=cached)
    place.up()
    given = place.words(fake_image, tiny_checkpoint, name="there", values=there)
    place.up()
    cluster.fault("cut", node)
    try:
        said = f"its node {node} does not report (NotReady)"
        until(lambda: said in place.status("there")["detail"], seconds=90, what=said)
        assert_goes_down(place, "leaving", node)
        with Begun(place, "up", *given, "--max-num-seqs", "4") as begun:
            begun.until("node.kubernetes.io/unreachable")
            cluster.fault("join", node)
            begun.ends()
    finally:
        cluster.fault("join", node)
    assert place.status("there")["health"] == "serving"
    place("down", "there", "--volumes", *ON)
    until(lambda: not of_service(place, "leaving"), seconds=90, what="nothing of it is left")


def test_a_card_that_turns_unhealthy(place, fake_image, tiny_checkpoint):
    cluster = place.cluster
    cluster.needs("cards")
    node = sorted(cluster.nodes())[0]

    def healthy():
        return int(cluster.json("get", "node", node)["status"]["allocatable"]["nvidia.com/gpu"])

    cards = healthy()
    own = {"scheduling": {"nodeSelector": {"kubernetes.io/hostname": node}},
           "resources": {"cpu": "50m", "memory": "64Mi", "memoryLimit": "2Gi"}}  # fmt: skip
    words = place.words(fake_image, tiny_checkpoint, name="cards", values=own)
    words = [{"cpu": "auto"}.get(word, word) for word in words]
    given = (*words, "--replicas", cards)
    file = STATE / CARD.format(node)
    file.touch()
    try:
        until(lambda: healthy() == cards - 1, seconds=60, what="one less")
        with Begun(place, "up", *given) as begun:
            begun.until("Insufficient nvidia.com/gpu")
            assert "is the cluster's only kind of card" in begun.said
            assert f"{node} has {cards} NVIDIA-L4 (1 unhealthy" in begun.said
            file.unlink()
            begun.ends()
    finally:
        file.unlink(missing_ok=True)
        until(lambda: healthy() == cards, seconds=60, what="all are well")
        place("down", "cards", "--volumes", *ON, code=None)
