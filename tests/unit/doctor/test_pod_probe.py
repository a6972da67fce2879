"""The one small pod: where it goes, what is said of it, and that it is gone afterwards."""

import pytest
from tests.unit.doctor.cluster_parts import deployment, question

from deployctl.doctor.cluster import pod_probe
from deployctl.doctor.cluster.needs import Needs
from deployctl.events import silent
from deployctl.targets.kubernetes.cluster import Cluster, ForbiddenError

NEEDS = question().needs


class Jobs(Cluster):
    """A cluster of one pod, whose status goes through `states` look by look."""

    context, namespace = "lab", "llm"

    def __init__(self, *states, log="", events=()):
        self.states, self.log, self.events = list(states), log, events
        self.made, self.removed = [], []

    def create(self, path, document, **query):
        self.made.append(document)
        return document

    def delete(self, path, **query):
        self.removed.append((path, query))
        return True

    def items(self, path, **query):
        if path.endswith("/events"):
            return [{"message": text} for text in self.events]
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, BaseException):
            raise state
        node = {} if state.get("phase") == "Pending" else {"nodeName": "node-1"}
        return [{"metadata": {"name": "p"}, "spec": node, "status": state}] if state else []

    def text(self, path, **query):
        return self.log


def tried(cluster, needs=NEEDS, image=None):
    now = iter(range(100_000))
    return pod_probe.probe(
        cluster, needs, image, silent, sleep=lambda s: None, clock=lambda: next(now)
    )


WAITING = {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}
DONE = {"phase": "Succeeded"}


def test_it_goes_where_an_engine_would_with_one_card():
    cluster = Jobs(WAITING, DONE, log="GPU 0: NVIDIA L4 (UUID: GPU-1)")
    found = tried(cluster)
    assert (found.status, "sees GPU 0: NVIDIA L4" in found.detail) == ("pass", True)
    [job] = cluster.made
    pod, engine = job["spec"]["template"]["spec"], deployment()["spec"]["template"]["spec"]
    assert (pod["affinity"], pod["tolerations"]) == (engine["affinity"], engine["tolerations"])
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod["containers"][0]["image"] == "vllm/vllm-openai:v0.32.0"
    assert job["spec"]["ttlSecondsAfterFinished"] < 120  # of one that was killed
    name = job["metadata"]["name"]
    assert cluster.removed == [
        (f"/apis/batch/v1/namespaces/llm/jobs/{name}", {"propagationPolicy": "Background"})
    ]


def test_a_container_without_a_card_is_told():
    assert tried(Jobs(DONE)).status == "warn"
    cpu = question(deployment(gpus=0, nodes=())).needs
    assert tried(Jobs(DONE), cpu, "busybox:1").detail == "busybox:1 runs on node-1"
    claims = deployment(gpus=0, nodes=(), resourceClaims=[{"name": "cards"}])
    router = deployment("router", gpus=0, nodes=())
    found = tried(Jobs(DONE), question(router, claims).needs, "busybox:1")
    assert found.detail == "busybox:1 runs on node-1; no card is claimed on trial"


UNPLACED = {
    "phase": "Pending",
    "conditions": [
        {"type": "PodScheduled", "status": "False", "message": "0/2 nodes. preemption: none"}
    ],
}


@pytest.mark.parametrize(
    ("states", "events", "words"),
    [
        ([{"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}]}],
         ['Failed to pull image "x": code = Unknown desc = no such host', "Error: ErrImagePull"],
         ": no such host"),
        ([UNPLACED], [], "no node takes it: 0/2 nodes."),
        ([{}], ['pods "p" is forbidden: exceeded quota: q'], "exceeded quota: q"),
        ([{"phase": "Failed", "containerStatuses": [
            {"state": {"terminated": {"exitCode": 127, "message": "no sh"}}}]}], [], "127: no sh"),
        ([WAITING], [], "not over after 600 s"),
    ],
)  # fmt: skip
def test_why_it_did_not_run(states, events, words):
    cluster = Jobs(*states, events=events)
    found = tried(cluster)
    assert (found.status, words in found.detail) == ("fail", True), found
    assert cluster.removed


@pytest.mark.parametrize("cut", [KeyboardInterrupt(), ForbiddenError("no right")])
def test_it_is_removed_whatever_happens(cut):
    cluster = Jobs(WAITING, cut)
    if isinstance(cut, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            tried(cluster)
    else:
        assert tried(cluster).status == "fail"
    assert len(cluster.removed) == 1


def test_without_helm_nothing_is_started():
    cluster = Jobs(DONE)
    assert tried(cluster, Needs()).status == "warn"
    assert not cluster.made
