"""Why a service does not come up, as a cluster has it: each is named, and nothing is left of it.

One namespace for all: each starts a service of its own, which never serves, or updates the one
that does.
"""

import json

import pytest
from tests.e2e.docker_parts import until
from tests.e2e.kubernetes.background import Begun
from tests.e2e.kubernetes.clusters import TAINT
from tests.e2e.kubernetes.namespaces import Namespace
from tests.e2e.kubernetes.traffic import start_pod

HOLD = ("--env", "FAKE_ENGINE_HOLD=/nowhere")
DIES = ("--env", "FAKE_ENGINE_DIE_LOADING=3")
TOLERATED = {"tolerations": [{"key": TAINT, "operator": "Exists"}]}


@pytest.fixture(scope="module")
def place(cluster, tmp_path_factory):
    place = Namespace.made(cluster, tmp_path_factory.mktemp("refusals"))
    yield place
    place.end()


@pytest.fixture
def words(place, fake_image, tiny_checkpoint, request):
    """Options of a service named after the test."""

    def words(*more, image=fake_image, **values):
        name = request.node.originalname.removeprefix("test_").replace("_", "-")[:30].strip("-")
        return place.words(image, tiny_checkpoint, *more, name=name, values=values)

    return words


def refused(place, given, code=4):
    """What is said of it, in one line; of the service nothing is left but its record and key."""
    before = place.belongings()
    said = place("up", *given, code=code).stderr
    assert place.belongings() - before <= {f"secret/{place.service}-api-key"}
    assert set(place.history()) == {"failed"}
    return " ".join(said.split())


def applied(place, document):
    place.kubectl("apply", "--filename=-", data=json.dumps(document))


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("MISSING", "there is no image registry.test:5000/none:1"),
        pytest.param(
            "PRIVATE",
            "the registry refuses the image registry.test:5000/own:1",
            marks=pytest.mark.night,
        ),
    ],
)
def test_an_image(place, words, registry, image, says):
    assert says in refused(place, words(image=getattr(registry, image)))


@pytest.mark.night
def test_a_registry_that_limits_pulls_is_waited_for(place, words, registry):
    with Begun(place, "up", *words(image=registry.LIMITED)) as begun:
        begun.until("the registry limits how often the image")
    place("down", place.service, "--volumes", "--target", "kubernetes")


def test_a_quota_that_one_pod_alone_exceeds(place, words):
    place.kubectl("create", "quota", "small", "--hard=requests.memory=100Mi")
    try:
        until(
            lambda: place.get("resourcequotas")[0].get("status", {}).get("hard"),
            seconds=30,
            what="the quota has a status",
        )
        said = refused(place, words())
    finally:
        place.kubectl("delete", "quota", "small")
    assert "exceeded quota: small, requested: requests.memory=256Mi" in said


def test_pod_security(place, words):
    key = "pod-security.kubernetes.io/enforce"
    place.cluster.kubectl("label", "namespace", place.name, f"{key}=restricted")
    try:
        said = refused(place, words())
    finally:
        place.cluster.kubectl("label", "namespace", place.name, f"{key}-")
    assert "pod security refuses the pod" in said
    assert "hostPath" in said


@pytest.mark.night
def test_an_admission_policy_that_denies(place, words):
    name = place.name
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
              "resources": ["pods"]}]  # fmt: skip
    chosen = {"matchLabels": {"kubernetes.io/metadata.name": name}}
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": "'team' in object.metadata.?labels.orValue({})",
                             "message": "every pod has a team"}],
        },
    }  # fmt: skip
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": chosen},
        },
    }
    both = {"apiVersion": "v1", "kind": "List", "items": [policy, binding]}
    applied(place, both)
    try:
        until(lambda: denied(place), seconds=30, what="the policy counts")
        said = refused(place, words())
    finally:
        place.cluster.kubectl("delete", "--filename=-", data=json.dumps(both))
    assert "every pod has a team" in said


def denied(place):
    tried = ("run", "tried", "--image=none", "--dry-run=server", "-o", "name")
    return not place.kubectl(*tried, check=False)


def test_a_claim_of_a_class_that_is_not_there(place, words):
    said = refused(place, words(cache={"enabled": True, "size": "1Gi", "storageClass": "fast"}))
    assert "no volume for claim" in said
    assert '"fast" not found' in said
    assert "removed claim" in said  # another class cannot be set


def test_memory_that_the_kernel_does_not_give(place, words):
    small = {"memory": "24Mi", "memoryLimit": "24Mi", "sharedMemory": "1Mi"}
    said = refused(place, words(resources=small))
    assert "it took more than its memory limit" in said


@pytest.mark.night
def test_an_engine_that_dies_in_an_update_and_what_served_serves_again(place, words):
    given = words()
    place("up", *given)
    said = " ".join(place("up", *given, *DIES, code=4).stderr.split())
    assert "ended with exit code 3" in said
    assert "revision 1 serves again" in said
    assert place.history() == ["deployed", "failed"]
    assert place.status(place.service)["health"] == "serving"
    assert "unchanged" in place("up", *given).stderr
    place("down", place.service, "--volumes", "--target", "kubernetes")


def test_a_namespace_that_is_not_there(place, words):
    done = place("up", *words(), code=4, DEPLOYCTL_NAMESPACE="nobody-made-this")
    assert "there is no namespace 'nobody-made-this'" in done.stderr
    assert "kubectl create namespace nobody-made-this" in done.stderr


# All that `up` does, but for what is taken away.
RIGHTS = {
    "": ["secrets", "configmaps", "services", "serviceaccounts", "pods", "pods/log", "events",
         "pods/portforward", "persistentvolumeclaims"],
    "apps": ["deployments", "replicasets"],
    "coordination.k8s.io": ["leases"],
    "networking.k8s.io": ["networkpolicies"],
    "policy": ["poddisruptionbudgets"],
}  # fmt: skip


def allow(place, user, without):
    rules = [
        {"apiGroups": [group], "verbs": ["*"], "resources": [k for k in kinds if k != without]}
        for group, kinds in RIGHTS.items()
    ]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": user}, "rules": [r for r in rules if r["resources"]]}  # fmt: skip
    applied(place, role)
    place.kubectl("create", "rolebinding", user, f"--role={user}", f"--user={user}")


@pytest.mark.night
@pytest.mark.parametrize(
    ("without", "says"),
    [
        ("secrets", 'cannot list resource "secrets"'),
        ("leases", 'cannot get resource "leases" in API group "coordination.k8s.io"'),
        ("networkpolicies", '"networkpolicies" in API group "networking.k8s.io"'),
        ("deployments", '"deployments" in API group "apps"'),
        ("pods", 'cannot list resource "pods"'),
        ("pods/portforward", 'resource "pods/portforward"'),
    ],
)
def test_a_right_that_is_missing(place, words, without, says):
    user = f"without-{without.replace('/', '-')}"
    allow(place, user, without)
    before = place.belongings()
    said = place("up", *words("--as", user), code=4).stderr
    assert says in said
    assert f'User "{user}"' in said
    assert place.belongings() - before <= {"secret/a-right-that-is-missing-api-key"}


@pytest.mark.night
def test_a_right_to_look_at_events_is_not_needed(place, words):
    allow(place, "without-events", "events")
    place("up", *words("--as", "without-events"))
    place("down", place.service, "--volumes", "--target", "kubernetes")


@pytest.mark.night
def test_a_quota_that_others_use_up_is_waited_for(place, words, fake_image):
    def used():
        (quota,) = place.get("resourcequotas")
        return quota.get("status", {}).get("used", {}).get("pods")

    given = words()
    start_pod(place, fake_image, "other")
    place.kubectl("create", "quota", "one", "--hard=pods=1")
    try:
        until(lambda: used() == "1", seconds=60, what="the other has all of it")
        with Begun(place, "up", *given) as begun:
            begun.until("a quota of the namespace refuses the pod")
            place.kubectl("delete", "pod", "other")
            begun.ends()
    finally:
        place.kubectl("delete", "quota", "one")
        place.kubectl("delete", "pod", "other", "--ignore-not-found")
    place("down", place.service, "--volumes", "--target", "kubernetes")


@pytest.mark.night
def test_a_card_that_no_node_has_and_the_deadline(place, words, tiny_checkpoint):
    place.cluster.needs("cards")
    given = [{"cpu": "h100"}.get(word, word) for word in words()]
    with Begun(place, "up", *given) as begun:
        begun.until("didn't match Pod's node affinity")
        assert "NVIDIA" in begun.said  # which there are
        patch = json.dumps({"spec": {"progressDeadlineSeconds": 5}})
        place.kubectl("patch", "deployment", place.service, "--patch", patch)
        said = " ".join(begun.ends(code=4, seconds=60).split())
    assert "the rollout took too long; the last that it waited for:" in said
    assert "node affinity" in said


@pytest.mark.night
def test_an_engine_that_is_too_slow(place, words):
    said = refused(place, words(*HOLD, "--startup-timeout", "10"))
    assert "did not answer within its start-up budget" in said
    assert "--startup-timeout" in said


@pytest.mark.night
def test_a_node_under_pressure(place, words):
    place.cluster.needs("hollow")
    (node,) = place.cluster.kubectl(
        "get", "nodes", "--selector=type=kwok", "--output=name"
    ).split()[-1:]
    name = node.removeprefix("node/")
    status = {"conditions": [{"type": "MemoryPressure", "status": "True", "reason": "Test",
                              "lastHeartbeatTime": None, "lastTransitionTime": None}]}  # fmt: skip
    there = {"nodeSelector": {"kubernetes.io/hostname": name}, **TOLERATED}
    place.cluster.kubectl(
        "patch", "node", name, "--subresource=status", "--patch", json.dumps({"status": status})
    )
    try:
        with Begun(place, "up", *words(scheduling=there)) as begun:
            begun.until(f"kept away by taints: {name} (node.kubernetes.io/memory-pressure)")
    finally:
        status["conditions"][0]["status"] = "False"
        place.cluster.kubectl(
            "patch", "node", name, "--subresource=status", "--patch", json.dumps({"status": status})
        )
        place("down", place.service, "--volumes", "--target", "kubernetes", code=None)
