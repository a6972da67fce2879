"""Nodes: what is free on them, and which take a pod."""

import pytest

from deployctl.targets.kubernetes import nodes


def node(name, labels=None, taints=(), ready="True", **allocatable):
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": list(taints)},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110", **allocatable},
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def pod(where=None, cpu="1", gpus=0, **spec):
    limits = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    resources = {"requests": {"cpu": cpu, "memory": "1Gi", **limits}, "limits": limits}
    return {
        "containers": [{"resources": resources}],
        **({"nodeName": where} if where else {}),
        **spec,
    }


L4 = {"card": "L4"}
TAINT = {"key": "nvidia.com/gpu", "effect": "NoSchedule"}
AFFINITY = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {"matchExpressions": [{"key": "card", "operator": "In", "values": ["L4"]}]}
            ]
        }
    }
}


@pytest.mark.parametrize(
    ("taken", "free"), [([], True), ([(3, "Running")], True), ([(4, "Running")], False),
                        ([(4, "Succeeded")], True)]
)  # fmt: skip
def test_cards_that_nobody_has(taken, free):
    there = [node("plain"), node("n1", L4, [TAINT], **{"nvidia.com/gpu": "4"})]
    wanted = pod(gpus=1, affinity=AFFINITY, tolerations=[{"operator": "Exists"}])
    pods = [{"spec": pod("n1", gpus=n), "status": {"phase": phase}} for n, phase in taken]
    room = nodes.room(wanted, nodes.rooms(there, pods))
    assert room.free is free
    assert room.why == (
        "n1 has 1 nvidia.com/gpu free"
        if free
        else "no node has room for a pod more (1 node: other labels than the pod asks for; "
        "1 node: too little nvidia.com/gpu free)"
    )


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (node("n1", {"card": "T4"}), "other labels than the pod asks for"),
        (node("n1", L4, [TAINT]), "taint nvidia.com/gpu is not tolerated"),
        (node("n1", L4, ready="False"), "not ready"),
        ({**node("n1", L4), "spec": {"unschedulable": True}}, "cordoned"),
        (node("n1", L4, cpu="500m"), "too little CPU"),
    ],
)
def test_nodes_that_take_no_such_pod(there, why):
    room = nodes.room(pod(affinity=AFFINITY), nodes.rooms([there], []))
    assert room == (False, f"no node has room for a pod more (1 node: {why})")


def test_a_processor_that_is_spoken_for():
    pods = [{"spec": pod("n1", cpu="3500m"), "status": {"phase": "Running"}}]
    found = nodes.room(pod(), nodes.rooms([node("n1")], pods))
    assert found.why == "no node has room for a pod more (1 node: too little CPU free)"
    found = nodes.room(pod(), nodes.rooms([node("n1"), node("n2")], pods))
    assert found == (True, "n2 has 1 CPU free")


def test_a_pod_takes_its_largest_init_container_if_that_is_more():
    spec = pod(cpu="1", initContainers=[{"resources": {"limits": {"cpu": "3", "memory": "1Mi"}}}])
    assert nodes.asked(spec) == {"cpu": 3.0, "memory": 2**30}


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ({"key": "a", "operator": "In", "values": ["1"]}, True),
        ({"key": "a", "operator": "NotIn", "values": ["1"]}, False),
        ({"key": "b", "operator": "Exists"}, False),
        ({"key": "b", "operator": "DoesNotExist"}, True),
        ({"key": "a", "operator": "Gt", "values": ["0"]}, True),
        ({"key": "a", "operator": "Lt", "values": ["0"]}, False),
    ],
)
def test_nodes_are_chosen_by_expressions_of_their_labels(expression, holds):
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    assert nodes.selected({"a": "1"}, {"affinity": {"nodeAffinity": required}}) is holds
    assert not nodes.selected({"a": "1"}, {"nodeSelector": {"a": "2"}})


@pytest.mark.parametrize(
    ("toleration", "holds"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "nvidia.com/gpu"}, True),
        ({"key": "nvidia.com/gpu", "value": "present"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({}, False),
    ],
)
def test_which_tolerations_let_a_pod_onto_a_node(toleration, holds):
    assert (nodes.untolerated([TAINT], [toleration]) is None) is holds


def test_by_which_taints_a_pod_is_kept_away_is_said():
    pressed = {"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}
    there = [node("other", {}, [pressed]), node("free", L4), node("n1", L4, [TAINT, pressed])]
    wanted = pod(affinity=AFFINITY, tolerations=[{"key": TAINT["key"], "operator": "Exists"}])
    said = "kept away by taints: n1 (node.kubernetes.io/memory-pressure)"
    assert nodes.kept_away(wanted, nodes.rooms(there, [])) == said
    many = [node(f"n{number}", L4, [pressed]) for number in range(8)]
    assert nodes.kept_away(wanted, nodes.rooms(many, [])).endswith(") and 2 nodes more")
    assert nodes.kept_away(wanted, nodes.rooms(there[:2], [])) == ""
