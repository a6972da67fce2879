"""What a rollout waits for and what ends it, by objects as a real cluster gave them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployctl.targets.kubernetes import cards, waits
from deployctl.targets.kubernetes.progress import look, newest_hash, ready

# Kubernetes 1.37: a Deployment of one pod each, 25 s after it was made.
RECORDED = json.loads(Path(__file__).with_name("recorded.json").read_text())


def seen(name, *, after_s=30.0, **changed):
    case = {**RECORDED[name], **changed}
    made = case["deployment"]["metadata"]["creationTimestamp"]
    at = datetime.strptime(made, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return look(now=at + timedelta(seconds=after_s), **case)


def test_a_rollout_that_is_done():
    assert seen("done").done
    (pod,) = RECORDED["done"]["pods"]
    assert ready(pod)
    assert newest_hash([pod]) == pod["metadata"]["labels"]["pod-template-hash"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_node", "didn't match Pod's node affinity"),
        ("cards_taken", "Insufficient nvidia.com/gpu"),
        ("image", "cannot be pulled: connection refused"),
        ("container", 'secret "gone" not found'),
        ("claim", 'persistentvolumeclaim "gone" not found'),
    ],
)
def test_what_may_pass_is_waited_for_and_then_ends_it(name, says):
    early, late = seen(name), seen(name, after_s=600)
    assert (early.done, early.problem) == (False, None)
    assert says in " ".join(early.waits)
    assert late.problem is not None
    assert says in late.problem.message
    assert late.problem.code == {"cards_taken": "no_node"}.get(name, name)
    assert late.problem.hint


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("died", "ended with exit code 3"),
        ("host_memory", "more than its memory limit"),
        ("quota", "exceeded quota: q"),  # by one pod alone
        ("pod_security", 'violates PodSecurity "baseline:latest"'),
    ],
)
def test_what_does_not_pass_ends_it_at_once(name, says):
    assert says in seen(name, after_s=0).problem.message


def test_one_that_was_restarted_and_is_ready_again_ends_nothing():
    (pod,) = json.loads(json.dumps(RECORDED["done"]["pods"]))
    (engine,) = pod["status"]["containerStatuses"]
    engine |= {"restartCount": 1, "lastState": {"terminated": {"exitCode": 137}}}
    assert list(waits.waits_of(pod, [])) == []
    engine["ready"] = False
    (wait,) = waits.waits_of(pod, [])
    assert wait.problem.code == "died"


@pytest.mark.parametrize(
    ("said", "code", "patience_s"),
    [
        ("exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3", "quota", 60),
        ("exceeded quota: q, requested: cpu=2,pods=1, used: cpu=0,pods=0, limited: cpu=1500m,pods=3", "quota", 0),  # noqa: E501
        ("failed quota: q: must specify limits.cpu for: engine", "quota", 0),
        ('admission webhook "x" denied the request: no such label', "pod_refused", 0),
        ("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no", "pod_refused", 0),
        ("maximum memory usage per Container is 128Mi, but limit is 1Gi", "pod_refused", 0),
        ('failed calling webhook "x": connection refused', "pod_refused", 60),
        ('error looking up service account llm/chat: serviceaccount "chat" not found',
         "pod_refused", 60),
    ],
)  # fmt: skip
def test_a_pod_that_is_refused_is_waited_for_where_that_may_help(said, code, patience_s):
    wait = waits.refused_pod(said, None)
    assert (wait.problem.code, wait.patience_s) == (code, patience_s)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("failed to pull image: not found", "image_missing"),
        ("pull access denied, repository does not exist or may require auth", "image_denied"),
        ("401 Unauthorized: authentication required to pull", "image_denied"),
        ("toomanyrequests: pull rate limit", None),
    ],
)
def test_what_a_registry_says(said, code):
    events = [
        {**e, "message": said} for e in RECORDED["image"]["events"] if e["reason"] == "Failed"
    ]
    problem = seen("image", events=events).problem
    assert (problem and problem.code) == code


def test_an_image_that_may_be_private_says_so():
    said = "failed to pull: pull access denied, repository does not exist or may require auth"
    failed = {**RECORDED["image"]["events"][2], "reason": "Failed", "message": said}
    problem = seen("image", events=[failed]).problem
    assert "there is none, or it takes a login" in problem.message
    assert "engine.pullSecrets" in problem.hint


def test_a_registry_whose_name_nobody_knows_is_not_waited_for_as_one_that_is_away():
    said = "failed to pull image: dial tcp: lookup registry.invalid: no such host"
    failed = {**RECORDED["image"]["events"][2], "reason": "Failed", "message": said}
    assert seen("image", events=[failed], after_s=10).problem is None
    assert seen("image", events=[failed], after_s=60).problem.code == "image"
    assert seen("image", after_s=60).problem is None


def test_one_whose_startup_probe_had_it_killed_was_too_slow():
    killed = {**RECORDED["died"]["events"][0], "reason": "Killing"}
    killed["message"] = "Container engine failed startup probe, will be restarted"
    problem = seen("died", events=[killed]).problem
    assert problem.code == "probe"
    assert "--startup-timeout" in problem.hint


def test_a_claim_that_waits_says_why():
    (pod,) = json.loads(json.dumps(RECORDED["claim"]["pods"]))
    name = "chat-cache"
    pod["spec"] = {"volumes": [{"persistentVolumeClaim": {"claimName": name}}, {"emptyDir": {}}]}

    def event(reason, message):
        return {"metadata": {"name": "e"}, "involvedObject": {"name": name}, "reason": reason,
                "message": message, "firstTimestamp": None}  # fmt: skip

    unknown = event("ProvisioningFailed", 'storageclass "fast" not found')
    problem = seen("claim", pods=[pod], events=[unknown], after_s=1).problem
    assert problem.code == "claim"
    assert 'storageclass "fast" not found' in problem.message
    assert "cache: {storageClass: NAME}" in problem.hint
    other = event("ExternalProvisioning", "Waiting for a volume to be created by x")
    (said,) = seen("claim", pods=[pod], events=[other], after_s=1).waits
    assert "Waiting for a volume" in said


def lost(pod, **spec):
    pod = json.loads(json.dumps(pod))
    for condition in pod["status"]["conditions"]:
        if condition["type"] == "Ready":
            condition["status"] = "False"
    return {**pod, "spec": {"nodeName": "node-2", **spec}}


def test_a_node_that_does_not_report_is_told():
    deployment = json.loads(json.dumps(RECORDED["done"]["deployment"]))
    deployment["status"]["availableReplicas"] = 0
    (pod,) = RECORDED["done"]["pods"]
    (said,) = seen("done", deployment=deployment, pods=[lost(pod)]).waits
    assert "its node node-2 does not report (NotReady)" in said
    assert "after 5 min" in said
    gated = lost(pod, readinessGates=[{"conditionType": "x"}])
    (said,) = seen("done", deployment=deployment, pods=[gated]).waits
    assert said == "0 of 1 pods are ready"


def test_a_pod_that_its_node_ended_or_has_not_begun_is_told():
    (pod,) = json.loads(json.dumps(RECORDED["done"]["pods"]))
    del pod["status"]["containerStatuses"]
    (waiting,) = waits.waits_of(pod, [])
    assert waiting.text.endswith("has not begun it")
    pod["status"] |= {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}
    (evicted,) = waits.waits_of(pod, [])
    assert "was evicted: low on memory" in evicted.text
    pod["status"]["reason"] = "UnexpectedAdmissionError"
    (ended,) = waits.waits_of(pod, [])
    assert "ended: UnexpectedAdmissionError: low" in ended.text


def test_a_node_that_is_being_added_is_waited_for():
    (pod,) = RECORDED["cards_taken"]["pods"]
    scales = {
        "reason": "TriggeredScaleUp",
        "message": "",
        "involvedObject": {"name": pod["metadata"]["name"]},
    }
    late = seen("cards_taken", after_s=900, events=[scales])
    assert late.problem is None
    assert "a node is being added" in late.waits[0]


def test_the_deployments_own_deadline_ends_it():
    deployment = json.loads(json.dumps(RECORDED["cards_taken"]["deployment"]))
    deployment["status"]["conditions"] = [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    ]
    problem = seen("cards_taken", deployment=deployment).problem
    assert problem.code == "deadline"
    assert "Insufficient nvidia.com/gpu" in problem.message


def test_a_generation_that_was_not_seen_is_not_done():
    deployment = json.loads(json.dumps(RECORDED["done"]["deployment"]))
    deployment["metadata"]["generation"] += 1
    assert not seen("done", deployment=deployment).done


def test_former_pods_are_waited_for():
    deployment = json.loads(json.dumps(RECORDED["done"]["deployment"]))
    deployment["status"]["replicas"] = 2
    assert seen("done", deployment=deployment).waits == ("1 of the former pods to end",)


def test_which_cards_there_are_is_said_of_a_pod_without_a_node():
    waiting, over = (seen("no_node", after_s=s, cards="n1 has 4 NVIDIA-L4") for s in (30, 600))
    assert waiting.waits[0].endswith("(n1 has 4 NVIDIA-L4)")
    assert over.problem.hint == "n1 has 4 NVIDIA-L4"


def test_which_cards_there_are():
    def node(name, labels, ready="True", ill=0, **there):
        healthy = {**there, "nvidia.com/gpu": str(int(there.get("nvidia.com/gpu", 0)) - ill)}
        conditions = [{"type": "Ready", "status": ready}]
        return {
            "metadata": {"name": name, "labels": labels},
            "status": {"capacity": there, "allocatable": healthy, "conditions": conditions},
        }

    def pod(name, where, count, phase="Running"):
        limits = {"nvidia.com/gpu": str(count), "memory": "1Gi"}
        return {
            "metadata": {"namespace": "llm", "name": name},
            "spec": {"nodeName": where, "containers": [{"resources": {"limits": limits}}]},
            "status": {"phase": phase},
        }

    l4 = node("n1", {"nvidia.com/gpu.product": "NVIDIA-L4"}, **{"nvidia.com/gpu": "4", "cpu": "8"})
    plain = node("n2", {}, cpu="8")
    text = cards.told([l4, plain], [pod("chat", "n1", 4), pod("old", "n1", 1, "Succeeded")])
    assert text == "n1 has 4 NVIDIA-L4 (llm/chat has 4)"
    assert "device plugin" in cards.told([plain], [])
    product = {"nvidia.com/gpu.product": "NVIDIA-L4"}
    ill = node("n1", product, ready="False", ill=1, **{"nvidia.com/gpu": "4"})
    text = cards.told([ill], [pod("chat", "n1", 3)])
    assert text == "n1 has 4 NVIDIA-L4 (not ready, 1 unhealthy, llm/chat has 3)"

    many = [node(f"a{n}", {}, **{"nvidia.com/gpu": "8"}) for n in range(9)]
    assert cards.told([*many, ill], []).startswith("n1 has 4")
    assert cards.told([*many, ill], []).endswith("and 4 nodes more")
