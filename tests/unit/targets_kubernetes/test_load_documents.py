"""The objects of a load, as they are made."""

import json

import kubernetes_validate
import pytest
from tests.unit.targets_kubernetes.load_order import ORDER

from deployctl.targets.kubernetes.load import documents
from deployctl_loadtest import pod

OWNER = {"metadata": {"name": "load-chat-abc", "uid": "u-1"}}


SERVED = documents.ServedPods(("engine", "router"), ("mirror",))


def made(order=ORDER, service=SERVED):
    return [
        documents.master("load-chat-abc", order, service),
        documents.workers("load-chat-abc", order, OWNER, "10.0.0.9", service),
        documents.secret("load-chat-abc", order, OWNER),
        *documents.policies("load-chat-abc", order, OWNER, service),
    ]


def test_every_object_is_valid_and_goes_with_the_masters_job():
    first, *others = made()
    for each in (first, *others):
        kubernetes_validate.validate(each, "1.37", strict=True)
        assert each["metadata"]["labels"][documents.LOAD] == "load-chat-abc"
    assert {o["metadata"]["ownerReferences"][0]["uid"] for o in others} == {"u-1"}
    for job in (first, others[0]):
        assert job["spec"]["ttlSecondsAfterFinished"] < 60
        # The master waits for its own start, for that of the workers, and for the run.
        assert job["spec"]["activeDeadlineSeconds"] > 2 * documents.START_S + ORDER.lasts_s
        assert job["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "mirror"}]
    assert (
        "imagePullSecrets"
        not in made(service=documents.ServedPods())[0]["spec"]["template"]["spec"]
    )


@pytest.mark.parametrize(
    ("image", "policy"),
    [("deployctl/loadtest:1", "Never"), ("registry.example/loadtest:1", "IfNotPresent")],
)
def test_an_image_of_a_name_that_nobody_owns_is_never_pulled(image, policy):
    for job in made(ORDER._replace(image=image))[:2]:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["imagePullPolicy"] == policy


def test_a_worker_that_ends_is_not_replaced_and_takes_no_other_with_it():
    spec = made()[1]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert (spec["completions"], spec["parallelism"], spec["backoffLimitPerIndex"]) == (2, 2, 0)
    assert "backoffLimit" not in spec


def test_a_key_is_in_the_secret_alone():
    first, workers, secret, *policies = made()
    assert "s3cret" in json.dumps(secret)
    assert "s3cret" not in json.dumps([first, workers, policies])


def test_the_policies_open_the_service_to_the_loads_pods_and_to_no_other():
    *_, own, service = made()
    assert service["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "chat"
    (rule,) = service["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {documents.LOAD: "load-chat-abc"}}}]
    assert own["spec"]["ingress"][0]["ports"][0]["port"] == pod.LOCUST_PORT
    assert len(documents.policies("a", ORDER._replace(service=None), OWNER, SERVED)) == 1


def policy(name, labels=None, kinds=("Ingress",), expressions=(), own=None):
    selector = {"matchLabels": labels or {}, "matchExpressions": list(expressions)}
    spec = {"podSelector": selector, "policyTypes": list(kinds)}
    return {"metadata": {"name": name, "labels": own or {}}, "spec": spec}


def a_pod(component, logins=()):
    labels = {**documents._engines("chat"), "app.kubernetes.io/component": component}
    spec = {"imagePullSecrets": [{"name": login} for login in logins]} if logins else {}
    return {"metadata": {"name": f"chat-{component}", "labels": labels}, "spec": spec}


@pytest.mark.parametrize(
    ("policies", "closed"),
    [
        ([], ()),  # networkPolicy.enabled: false
        ([policy("deny-all")], ("engine", "router")),
        ([policy("out", kinds=["Egress"])], ()),
        ([policy("engine", {"app.kubernetes.io/component": "engine"})], ("engine",)),
        ([policy("other", {"app.kubernetes.io/instance": "other"})], ()),
        (
            [
                policy(
                    "router",
                    expressions=[
                        {
                            "key": "app.kubernetes.io/component",
                            "operator": "NotIn",
                            "values": ["engine"],
                        }
                    ],
                )
            ],
            ("router",),
        ),
        ([policy("of-another-load", own={documents.LOAD: "x"})], ()),
    ],
)
def test_what_is_open_to_all_is_not_closed_by_a_load(policies, closed):
    """A policy that selects a pod closes it to all whom no policy names."""
    there = documents.served([a_pod("engine", ["mirror"]), a_pod("router", ["mirror"])], policies)
    assert there == documents.ServedPods(closed, ("mirror",))
    _, *let_in = documents.policies("a", ORDER, OWNER, there)
    selected = [p["spec"]["podSelector"]["matchExpressions"][0]["values"] for p in let_in]
    assert selected == ([list(closed)] if closed else [])


def test_pods_keep_to_the_strictest_level():
    for job in made()[:2]:
        spec = job["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec["automountServiceAccountToken"]
        (container,) = spec["containers"]
        own = container["securityContext"]
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
        assert all(
            set(container["resources"][k]) == {"cpu", "memory"} for k in ("limits", "requests")
        )


def test_a_long_name_makes_no_label_that_is_too_long():
    name = documents.name_of(ORDER._replace(name="m" * 40), "abcdef")
    host = f"{documents.workers(name, ORDER, OWNER, 'a', SERVED)['metadata']['name']}-255"
    assert len(host) <= 63
