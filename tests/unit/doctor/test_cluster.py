"""A cluster's checks, from what a real one answered."""

import copy
from dataclasses import replace

import pytest
from tests.unit.doctor.cluster_parts import (
    HELM,
    RECORDED,
    RecordedCluster,
    check,
    checks,
    deployment,
    free,
    question,
)

from deployctl.doctor.cluster.facts import ClaimedCards
from deployctl.doctor.cluster.probes import gather
from deployctl.doctor.examine import verdict
from deployctl.doctor.shell import Ran
from deployctl.errors import ClusterError
from deployctl.planning.plan import CardOption

NODES = "/api/v1/nodes"


def nodes(*changes, only=("node-1", "node-2")):
    """The real nodes, each as a function changes it."""
    found = [n for n in copy.deepcopy(RECORDED[NODES]) if n["metadata"]["name"] in only]
    for node in found:
        for change in changes:
            change(node)
    return {NODES: found}


def label(**labels):
    return lambda node: node["metadata"]["labels"].update(
        {key.replace("__", "/").replace("_", "."): value for key, value in labels.items()}
    )


def offers(count, capacity=4):
    def change(node):
        node["status"]["allocatable"]["nvidia.com/gpu"] = str(count)
        node["status"]["capacity"]["nvidia.com/gpu"] = str(capacity)

    return change


def plugin(runtime_class):
    """The device plugin's pod, and no pod that has a card."""
    pod = {
        "metadata": {"name": "nvidia-device-plugin-daemonset-x", "namespace": "gpu-operator"},
        "spec": {"nodeName": "node-1", "runtimeClassName": runtime_class, "containers": []},
        "status": {"phase": "Running"},
    }
    return {"/api/v1/pods": [pod]}


def test_a_cluster_with_room_fails_nothing():
    found = checks(RecordedCluster(**free()))
    assert verdict(found) != "fail", [c for c in found if c.status == "fail"]
    said = {c.id: c for c in found}
    assert said["cluster"].detail == "Kubernetes 1.37.2, context lab"
    assert said["user"].detail == "ann, of devs"
    assert said["gpu-nodes"].detail.startswith("32 NVIDIA-L4 on hollow-0")
    assert said["gpu-nodes"].detail.endswith("29 free (profile l4)")
    assert "6 by claims of gpu.nvidia.com, 6 free" in said["gpu-source"].detail
    assert said["room"].detail == "1 card, 1 CPU, 4.0 GiB"
    assert all(c.fix for c in found if c.status != "pass")
    assert not any(c.fix or c.yaml for c in found if c.status == "pass")


def test_without_an_answer_nothing_else_is_said():
    class Gone(RecordedCluster):
        def get(self, path, **query):
            raise ClusterError("the API server does not answer", where="https://x", hint="ask it")

    assert gather(Gone(), question(), run=lambda argv, seconds: HELM).namespace == "llm"
    found = checks(Gone())
    assert [(c.id, c.status) for c in found] == [("cluster", "fail"), ("helm", "pass")]
    assert (found[0].detail, found[0].fix) == (
        "the API server does not answer (https://x)",
        "ask it",
    )


@pytest.mark.parametrize(
    ("id", "changed", "status", "words"),
    [
        ("cluster", {"/version": {"gitVersion": "v1.28.9"}}, "fail", "needs 1.29.0 or newer"),
        ("namespace", {"/api/v1/namespaces/llm": None}, "fail", "there is no namespace llm"),
        ("gpu-nodes", nodes(label(nvidia_com__gpu_product="NVIDIA-L40S")), "fail",
         "no node has the label nvidia.com/gpu.product=NVIDIA-L4; there are 8 NVIDIA-L40S"),
        ("gpu-nodes", nodes(offers(0, 0)), "fail", "say that they have cards and offer none"),
        ("gpu-nodes", {NODES: []}, "fail", "no node offers an NVIDIA card"),
        ("nodes", nodes(lambda n: n["spec"].update(unschedulable=True)), "warn", "is cordoned"),
        ("gpu-health", nodes(offers(3)), "warn", "node-1: 1 of 4"),
        ("gpu-driver", nodes(label(**{"nvidia_com__cuda_driver_major": "535"})), "fail",
         "535 on node-1, node-2: vLLM 0.32.0 is built with CUDA 13.0, which needs 580"),
        ("gpu-driver",
         nodes(lambda n: n["metadata"]["labels"].update(
             {"nvidia.com/cuda.driver-version.full": "580.95.05"})),
         "pass", "580.95.05, for CUDA 13.0"),
        ("gpu-taints", {}, "warn", "kwok.x-k8s.io/node:NoSchedule on hollow-0"),
        ("gpu-taints", nodes(only=("hollow-0",)), "fail", "pods do not tolerate that"),
        ("gpu-taints", nodes(), "pass", "none"),
        ("storage-classes", {"/apis/storage.k8s.io/v1/storageclasses": []}, "fail", "none"),
        ("network-policies",
         {"/apis/apps/v1/daemonsets": [{"metadata": {"name": "calico-node"}}]},
         "pass", "enforced by Calico"),
        ("network-policies",
         {"/apis/apps/v1/daemonsets": [{"metadata": {"name": "kube-flannel-ds"}}]},
         "warn", "not enforced: Flannel"),
        ("network-policies", {}, "warn", "unknown whether they are enforced"),
        ("runtime-class",
         {"/apis/node.k8s.io/v1/runtimeclasses": [{"metadata": {"name": "nvidia"}}],
          "/api/v1/pods": []},
         "warn", "there is a class nvidia"),
        ("runtime-class", {}, "pass", "none is needed: pods with cards run without"),
        ("runtime-class", plugin(None), "pass", "the device plugin runs without"),
        ("runtime-class", plugin("nvidia-cdi"), "warn", "there is a class nvidia-cdi"),
        ("runtime-class", {"/api/v1/pods": []}, "warn", "nothing shows"),
        ("image", {}, "warn", "unknown whether nodes reach docker.io"),
        ("image",
         {"/api/v1/namespaces/llm/events": [
             {"message": 'Failed to pull image "vllm/vllm-openai:v0.32.0": dial: i/o timeout'}]},
         "warn", "failed lately: i/o timeout"),
        ("image",
         {"/api/v1/namespaces/llm/events": [
             {"message": 'Successfully pulled image "docker.io/library/x:1" in 3s'}]},
         "pass", "nodes pulled docker.io/library/x:1"),
    ],
)  # fmt: skip
def test_what_is_found(id, changed, status, words):
    found = check(id, RecordedCluster(**{**free(), **changed}))
    assert (found.status, words in found.detail) == (status, True), found


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (question(deployment(gpus=5)), "2 nodes: too little nvidia.com/gpu"),
        (question(deployment(gpus=4, replicas=2)), "1 of 2 pods find no node"),
        (question(deployment(memory="900Gi")), "2 nodes: too little memory"),
        (question(deployment(nodes=[{"card": "none"}])), "5 nodes: other labels than the pod asks"),
    ],
)
def test_pods_without_a_place_are_told_as_the_scheduler_would(asked, says):
    found = check("room", RecordedCluster(**free()), asked)
    assert found.status == "fail"
    assert says in found.detail
    assert "3 nodes: taint kwok.x-k8s.io/node" in found.detail or "other labels" in says
    assert "other/taken has 3" in found.fix


def test_a_service_that_runs_makes_room_for_itself():
    pods = copy.deepcopy(RECORDED["/api/v1/pods"])
    asked = question(deployment(gpus=4, replicas=2))
    for pod in pods:
        if pod["metadata"]["name"] == "taken":
            pod["metadata"] |= {"namespace": "llm"}
            pod["metadata"]["labels"] = {"app.kubernetes.io/instance": "chat"}
    found = check("room", RecordedCluster(**free(), **{"/api/v1/pods": pods}), asked)
    assert found.status == "pass", found


def test_what_is_no_plan_only_warns():
    asked = question(deployment(memory="900Gi"), planned=False)
    assert check("room", RecordedCluster(**free()), asked).status == "warn"


def test_what_is_asked_for_must_be_installed():
    scaled = {"kind": "ScaledObject", "metadata": {"name": "chat"}}
    without = {"groups": [g for g in RECORDED["/apis"]["groups"] if g["name"] != "keda.sh"]}
    asked = question(deployment(), scaled)
    assert check("crd-keda", RecordedCluster(), asked).status == "pass"
    assert check("crd-keda", RecordedCluster(**{"/apis": without}), asked).status == "fail"
    assert check("crd-keda", RecordedCluster(**{"/apis": without})).status == "pass"
    hpa = {"kind": "HorizontalPodAutoscaler", "metadata": {"name": "chat"}}
    asked = question(deployment(), {**hpa, "spec": {"metrics": [{"type": "Pods"}]}})
    assert check("metrics-server", RecordedCluster(), asked).status == "fail"
    asked = question(deployment(), {**hpa, "spec": {"metrics": [{"type": "Resource"}]}})
    assert check("metrics-server", RecordedCluster(), asked).status == "pass"
    groups = [g for g in RECORDED["/apis"]["groups"] if g["name"] != "metrics.k8s.io"]
    without = RecordedCluster(**{"/apis": {"groups": groups}})
    assert check("metrics-server", without, asked).status == "fail"


@pytest.mark.parametrize(
    ("helm", "status"),
    [(Ran(None), "fail"), (Ran(0, "v3.12.0+g1"), "fail"), (Ran(0, "v3.18.0"), "pass")],
)
def test_helm_on_this_machine(helm, status):
    assert check("helm", RecordedCluster(), helm=helm).status == status


def test_a_cpu_service_needs_no_card():
    asked = question(deployment(gpus=0, nodes=()), gpu="cpu")
    found = {c.id for c in checks(RecordedCluster(), asked)}
    assert not {i for i in found if i.startswith(("gpu-", "runtime"))}
    assert check("cpu-nodes", RecordedCluster(), asked).detail == "5 amd64"


def test_what_the_user_may_not_see_is_unknown_and_no_pass():
    hidden = [p for p in RECORDED if p not in ("/version", "/apis")]
    found = checks(RecordedCluster(forbidden=hidden))
    unknown = {c.id for c in found if "unknown" in c.detail}
    assert {"nodes", "quota", "limit-range", "pod-security", "storage-classes"} <= unknown
    assert all(c.status == "warn" for c in found if "unknown" in c.detail)
    assert "this user may not list nodes" in next(c.detail for c in found if c.id == "nodes")


def card(**changed):
    """An option of a claim; the recorded cluster's slices have Tesla T4, NVIDIA L4 and others."""
    said = {"gpu": "t4", "title": "T4", "verdict": "fits", "products": ("Tesla T4",)}
    return CardOption(**{**said, "memory_mib": 8000, "least_capability": "7.5", **changed})


TEMPLATE = {
    "kind": "ResourceClaimTemplate",
    "metadata": {"name": "chat-cards"},
    "spec": {
        "spec": {"devices": {"requests": [{"exactly": {"deviceClassName": "gpu.nvidia.com"}}]}}
    },
}


@pytest.mark.parametrize(
    ("option", "each", "changed", "status", "words"),
    [
        (card(), 1, {}, "pass", "1 of t4: there is a node that gives it"),
        (card(), 8, {}, "fail", "on no node 8 cards that match are free"),
        (card(memory_mib=99999), 1, {}, "fail", "no device matches: nearest was"),
        (card(), 1, {"/apis/resource.k8s.io/v1/resourceslices": []}, "fail", "DRA driver"),
        (card(), 1, {"/apis/resource.k8s.io/v1/deviceclasses": []}, "fail", "no DeviceClass gpu."),
    ],
)
def test_cards_by_claim(option, each, changed, status, words):
    asked = question(deployment(gpus=0, nodes=()), TEMPLATE)
    asked = replace(asked, claimed=(ClaimedCards("chat", (option,), each),))
    cluster = RecordedCluster(**free(), **changed)
    found = check("gpu-claims", cluster, asked)
    assert (found.status, words in found.detail) == (status, True), found
    assert not [c for c in checks(cluster, asked) if c.id == "gpu-nodes"]


def test_the_driver_of_cards_by_claim_is_told_by_their_devices():
    asked = question(deployment(gpus=0, nodes=()), TEMPLATE)
    asked = replace(asked, claimed=(ClaimedCards("chat", (card(),), 1),))
    found = check("gpu-driver", RecordedCluster(**free()), asked)
    assert (found.status, found.detail) == ("pass", "580.95.5, for CUDA 13.0")
    path = "/apis/resource.k8s.io/v1/resourceslices"
    older, untold = copy.deepcopy(RECORDED[path]), copy.deepcopy(RECORDED[path])
    for each in older:
        for device in each["spec"]["devices"]:
            device["attributes"]["driverVersion"]["version"] = "570.1.0"
    for each in untold:
        for device in each["spec"]["devices"]:
            del device["attributes"]["driverVersion"]
    found = check("gpu-driver", RecordedCluster(**free(), **{path: older}), asked)
    assert (found.status, "570.1.0 on hollow-0: vLLM" in found.detail) == ("fail", True)
    assert check("gpu-driver", RecordedCluster(**free(), **{path: untold}), asked).status == "warn"
