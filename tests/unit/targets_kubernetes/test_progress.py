"""What a rollout waits for and what ends it, by objects as a real cluster gave them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployctl.targets.kubernetes import cards
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
        ("quota", "exceeded quota: q"),
        ("pod_security", 'violates PodSecurity "baseline:latest"'),
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
    [("died", "ended with exit code 3"), ("host_memory", "more than its memory limit")],
)
def test_what_does_not_pass_ends_it_at_once(name, says):
    assert says in seen(name, after_s=0).problem.message


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("failed to pull image: not found", "image_missing"),
        ("pull access denied, repository does not exist or may require auth", "image_missing"),
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


def test_which_cards_there_are():
    def node(name, labels, **cards):
        return {"metadata": {"name": name, "labels": labels}, "status": {"allocatable": cards}}

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
