"""An image is pulled while the former pods serve; and whether there is room for one more pod."""

import json
from pathlib import Path

import pytest

from deployctl.errors import ClusterError
from deployctl.targets.kubernetes import pull

RECORDED = json.loads(Path(__file__).with_name("recorded.json").read_text())
PODS = "/api/v1/namespaces/llm/pods"


def deployment(image="engine:2", unavailable=1, **spec):
    engine = {"name": "engine", "image": image, "env": [{"name": "A", "value": "1"}]}
    template = {"spec": {"containers": [engine], **spec}}
    rolling = {"maxSurge": 0, "maxUnavailable": unavailable}
    return {
        "metadata": {"name": "chat"},
        "spec": {"template": template, "strategy": {"rollingUpdate": rolling}},
    }


def serving(node, ready="True"):
    return {
        "metadata": {"name": node},
        "spec": {"nodeName": node},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


@pytest.mark.parametrize(
    ("wanted", "nodes"),
    [
        (deployment(), ["n1", "n2"]),
        (deployment(image="engine:1"), []),  # the same
        (deployment(unavailable=0), []),  # new pods come first
    ],
)
def test_the_nodes_of_those_that_serve(wanted, nodes):
    pods = [serving("n2"), serving("n1"), serving("n1"), serving("n3", ready="False")]
    assert pull.nodes_for(wanted, deployment(image="engine:1"), pods) == nodes


def test_its_pod_asks_for_no_card_and_is_let_in_where_the_engine_is():
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    wanted = deployment(imagePullSecrets=[{"name": "r"}], tolerations=tolerations)
    spec = pull.pod("chat", wanted["spec"]["template"]["spec"], "n1")["spec"]
    assert (spec["nodeName"], spec["tolerations"]) == ("n1", tolerations)
    assert spec["imagePullSecrets"] == [{"name": "r"}]
    (container,) = spec["containers"]
    assert container["image"] == "engine:2"
    assert "env" not in container
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}


class Nodes:
    """What the nodes make of pods, at each pause."""

    def __init__(self, cluster, *states):
        self.cluster, self.states = cluster, list(states)
        self.now, self.told = 0.0, []

    def sleep(self, seconds):
        self.now += seconds
        state = self.states.pop(0) if self.states else None
        for path in [p for p in self.cluster.documents if p.startswith(PODS)]:
            if state is not None:
                self.cluster.patch(path, {"status": state})

    def pull(self, *nodes):
        puller = pull.Puller(self.cluster, clock=lambda: self.now, sleep=self.sleep)
        puller.pull(deployment(), nodes, self.told.append)


def status(**state):
    container = {"name": "pull", "image": "engine:2", "state": state}
    return {"phase": "Pending", "containerStatuses": [container]}


@pytest.mark.parametrize(
    "end",
    [
        status(running={"startedAt": "x"}),
        status(terminated={"exitCode": 128, "reason": "StartError"}),  # it has no /bin/true
        {"phase": "Failed", "reason": "OutOfcpu"},  # and will never tell
    ],
)
def test_it_waits_for_the_image_and_leaves_nothing(cluster, end):
    nodes = Nodes(cluster, status(waiting={"reason": "ContainerCreating"}), end)
    nodes.pull("n1", "n2")
    assert [event.text for event in nodes.told][:2] == [
        "2 nodes: pulling the image engine:2",
        "0 of 2 nodes have it",
    ]
    assert cluster.documents == {}


def test_an_image_that_nobody_has_is_told_with_what_serves(cluster):
    message = "failed to pull image: not found"
    nodes = Nodes(cluster, status(waiting={"reason": "ErrImagePull", "message": message}))
    with pytest.raises(ClusterError, match="there is no image engine:2") as caught:
        nodes.pull("n1")
    assert "what serves was not touched" in caught.value.hint
    assert caught.value.where == "node n1"
    assert cluster.documents == {}


def test_a_pull_has_an_end(cluster):
    with pytest.raises(ClusterError, match="not pulled within"):
        Nodes(cluster).pull("n1")


def test_who_may_not_make_pods_goes_on(cluster, monkeypatch):
    def refused(path, document):
        raise ClusterError("pods is forbidden")

    monkeypatch.setattr(cluster, "create", refused)
    nodes = Nodes(cluster)
    nodes.pull("n1")
    assert [e.text for e in nodes.told] == ["the image is not pulled beforehand: pods is forbidden"]
