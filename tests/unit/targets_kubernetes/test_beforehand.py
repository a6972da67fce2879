"""What is told before a rollout: claims that one node has, and whether a pod more finds room."""

import copy
from contextlib import nullcontext

import pytest

from deployctl.errors import ClusterError
from deployctl.targets.kubernetes import beforehand

CARD = "nvidia.com/gpu"
CLAIMS = "/api/v1/namespaces/llm/persistentvolumeclaims"
LABELS = {"app.kubernetes.io/instance": "chat"}


def deployment(replicas=2, claim="weights", surge=0, unavailable=1, cards=1):
    engine = {"name": "engine", "resources": {"limits": {CARD: str(cards)}}}
    volumes = [{"name": "tmp", "emptyDir": {}}]
    volumes += [{"name": "m", "persistentVolumeClaim": {"claimName": claim}}] if claim else []
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {
        "kind": "Deployment",
        "metadata": {"name": "chat"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "strategy": {"rollingUpdate": rolling},
            "template": {"spec": {"containers": [engine], "volumes": volumes}},
        },
    }


def add_node(cluster, name, cards):
    cluster.documents[f"/api/v1/nodes/{name}"] = {
        "metadata": {"name": name},
        "status": {
            "allocatable": {CARD: str(cards), "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def add_pod(cluster, name, node, cards=1, labels=LABELS):
    engine = {"name": "engine", "resources": {"limits": {CARD: str(cards)}}}
    cluster.documents[f"/api/v1/pods/{name}"] = {
        "metadata": {"name": name, "namespace": "llm", "labels": labels},
        "spec": {"nodeName": node, "containers": [engine]},
    }


def add_claim(cluster, *modes):
    cluster.documents[f"{CLAIMS}/weights"] = {"spec": {"accessModes": list(modes)}}


@pytest.fixture
def two_nodes(cluster):
    """Each with two cards; the service has one of each."""
    for name in ("n1", "n2"):
        add_node(cluster, name, 2)
        add_pod(cluster, f"chat-{name}", name)
    return cluster


def told(cluster, wanted, former=None):
    made = [wanted, {"kind": "Service"}]
    return [
        e.text for e in beforehand.changes(cluster, made, wanted, former or deployment(cards=9))
    ]


@pytest.mark.parametrize(
    ("modes", "replicas", "cards", "refused"),
    [
        (["ReadWriteOnce"], 2, 1, None),  # both fit on either, once the old ones are gone
        (["ReadWriteOnce"], 2, 2, "none has room for more than 1"),
        (["ReadWriteOnce"], 3, 1, "none has room for more than 2"),
        (["ReadWriteOnce"], 1, 2, None),
        (["ReadWriteOncePod"], 2, 1, "none has room for more than 1"),
        (["ReadWriteOnce", "ReadOnlyMany"], 3, 1, None),
        (["ReadWriteMany"], 3, 1, None),
    ],
)
def test_a_claim_of_one_node_for_more_pods_than_that_takes(
    two_nodes, modes, replicas, cards, refused
):
    add_claim(two_nodes, *modes)
    wanted = deployment(replicas, cards=cards)
    expected = pytest.raises(ClusterError, match=refused) if refused else nullcontext()
    with expected as error:
        beforehand.refuse_claims(two_nodes, [wanted], wanted)
    assert not refused or "ReadOnlyMany" in error.value.hint


def test_others_keep_their_cards(two_nodes):
    add_claim(two_nodes, "ReadWriteOnce")
    for name in ("n1", "n2"):
        add_pod(two_nodes, f"other-{name}", name, labels={})
    wanted = deployment(2)
    with pytest.raises(ClusterError, match="more than 1"):
        beforehand.refuse_claims(two_nodes, [wanted], wanted)


def test_a_claim_that_is_not_there_and_one_that_the_release_makes(two_nodes):
    wanted = deployment()
    with pytest.raises(ClusterError, match="there is no claim weights"):
        beforehand.refuse_claims(two_nodes, [wanted], wanted)
    own = {"kind": "PersistentVolumeClaim", "metadata": {"name": "weights"}}
    beforehand.refuse_claims(two_nodes, [wanted, own], wanted)


def test_who_may_not_look_is_told_by_the_rollout(two_nodes, monkeypatch):
    def forbidden(path, **query):
        raise ClusterError("HTTP 403")

    add_claim(two_nodes, "ReadWriteOnce")
    monkeypatch.setattr(two_nodes, "items", forbidden)
    wanted = deployment(9, surge=1, unavailable=0)
    beforehand.refuse_claims(two_nodes, [wanted], wanted)
    assert all("must run on its node" in text for text in told(two_nodes, wanted))
    gone = deployment(1, claim="gone")
    with pytest.raises(ClusterError, match="there is no claim gone"):  # a claim is the namespace's
        beforehand.refuse_claims(two_nodes, [gone], gone)


def test_the_nodes_are_asked_where_they_decide_something(two_nodes):
    add_claim(two_nodes, "ReadWriteOnce")
    for replicas, asked in ((1, []), (2, [("items", "/api/v1/pods"), ("items", "/api/v1/nodes")])):
        two_nodes.asked.clear()
        wanted = deployment(replicas)
        beforehand.refuse_claims(two_nodes, [wanted], wanted)
        assert two_nodes.asked == asked


def test_one_node_for_all_is_said(two_nodes):
    add_claim(two_nodes, "ReadWriteOnce")
    (text,) = told(two_nodes, deployment())
    assert "claim weights is ReadWriteOnce: all 2 replicas must run on its node" in text


def test_a_surge_without_a_card_is_said(two_nodes):
    wanted = deployment(claim=None, surge=1, unavailable=0)
    assert told(two_nodes, wanted) == []
    add_pod(two_nodes, "other", "n1", labels={})
    add_pod(two_nodes, "another", "n2", labels={})
    (text,) = told(two_nodes, wanted)
    assert "rollout.maxSurge is 1, and no node has room for a pod more" in text
    assert f"too little {CARD} free" in text
    assert "maxSurge: 0" in text
    assert told(two_nodes, deployment(claim=None)) == []


def test_the_only_pod_leaves_a_gap_that_a_free_card_would_fill(two_nodes):
    (text,) = told(two_nodes, deployment(1, claim=None))
    assert "the only pod ends before the new one serves" in text
    assert "maxSurge: 1, maxUnavailable: 0} in --values would start that first, for n1 has" in text
    (text,) = told(two_nodes, deployment(1, claim=None, cards=2))
    assert "serves: no node has room for a pod more" in text


def test_nothing_is_said_where_no_pod_is_replaced(two_nodes):
    wanted = deployment(1, claim=None)
    there = copy.deepcopy(wanted)
    there["spec"]["template"]["spec"] |= {"dnsPolicy": "ClusterFirst"}
    there["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "Always"
    assert told(two_nodes, wanted, there) == []


def test_a_share_of_the_replicas_as_kubernetes_rounds_it(two_nodes):
    for name in ("other", "another"):
        add_pod(two_nodes, name, "n1", cards=2, labels={})
        add_pod(two_nodes, f"{name}-2", "n2", cards=2, labels={})
    assert told(two_nodes, deployment(3, claim=None, surge="25%", unavailable="25%"))
    assert not told(two_nodes, deployment(4, claim=None, surge="25%", unavailable="25%"))


@pytest.fixture
def autoscaled(cluster):
    """A service of three replicas by `manager`, and its Deployment for an autoscaler."""

    def made(manager, replicas=3):
        fields = [{"manager": manager, "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
        found = {"metadata": {"managedFields": fields}, "spec": {"replicas": replicas}}
        cluster.documents["/apis/apps/v1/namespaces/llm/deployments/chat"] = found
        wanted = {"apiVersion": "apps/v1", **deployment()}
        wanted["metadata"]["namespace"] = "llm"
        del wanted["spec"]["replicas"]
        return wanted

    return made


@pytest.mark.parametrize(("manager", "kept"), [("helm", 3), ("kube-controller-manager", None)])
def test_replicas_that_helm_set_stay_when_an_autoscaler_takes_over(
    cluster, autoscaled, manager, kept, monkeypatch
):
    applied = []
    monkeypatch.setattr(cluster, "apply", lambda path, document, manager: applied.append(document))
    wanted = autoscaled(manager)
    says = {**wanted, "spec": {**wanted["spec"], "replicas": 2}}
    for each in (says, wanted):
        beforehand.keep_replicas(cluster, each)
    assert [document["spec"] for document in applied] == ([{"replicas": kept}] if kept else [])


def test_helm_3_which_would_end_them_is_refused(cluster, autoscaled, monkeypatch):
    for third, manager, replicas in ((False, "helm", 3), (True, "kubectl", 3), (True, "helm", 1)):
        monkeypatch.setattr(beforehand.helm, "is_third", lambda third=third: third)
        beforehand.refuse_to_lose_replicas(cluster, autoscaled(manager, replicas))
    with pytest.raises(ClusterError, match="all but one of 3 replicas") as caught:
        beforehand.refuse_to_lose_replicas(cluster, autoscaled("helm"))
    assert "Helm 4" in caught.value.hint
