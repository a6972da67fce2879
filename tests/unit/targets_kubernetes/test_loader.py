"""What keeps a checkpoint's loader from starting, and what does not."""

from pathlib import Path

import pytest

from deployctl.errors import ClusterError
from deployctl.render.values import Values
from deployctl.targets.kubernetes import survey
from deployctl.targets.kubernetes.checkpoint import claim, loader
from deployctl.targets.kubernetes.checkpoint.claim import Cargo
from deployctl.targets.kubernetes.checkpoint.loader import Loader

NAME = "model-abababababababab"
CLAIMS = "/api/v1/namespaces/llm/persistentvolumeclaims"
CARGO = Cargo(Path("/models/awq"), "ab" * 32, [])


def values():
    return Values.model_validate({"model": {"digest": CARGO.digest, "claim": NAME}})


def nothing(_):
    return None


def event(about, reason, message, *, seen="", **involved):
    return {
        "metadata": {"name": f"{about}.1{reason}", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "involvedObject": {"name": about, **involved},
        "lastTimestamp": seen or None,
        "reason": reason,
        "message": message,
    }


@pytest.mark.parametrize(
    ("about", "reason", "message", "says"),
    [
        (NAME, "ProvisioningFailed", 'storageclass "x" not found', "no volume for claim"),
        (NAME, "FailedBinding", "no storage class is set", "no volume for claim"),
        ("job", "FailedCreate", "exceeded quota: q, used: …", "a quota of the namespace"),
        ("job", "FailedCreate", "violates PodSecurity", "pod security refuses"),
    ],
)
def test_why_a_loader_does_not_start(cluster, about, reason, message, says):
    jobs = cluster.path("batch/v1", "jobs")
    job = loader.document(NAME, values(), 1, beside=None)
    work = Loader(cluster, NAME, nothing, nothing)
    work.begin(job)
    own = about == "job"
    name, kind = (job["metadata"]["name"], "Job") if own else (about, "PersistentVolumeClaim")
    events = cluster.path("v1", "events")
    cluster.create(events, event(name, reason, message, kind=kind))
    with pytest.raises(ClusterError, match=says) as failed:
        work.pod()
    assert failed.value.hint
    work.end()
    assert cluster.items(jobs) == []


CLAIM = {"kind": "PersistentVolumeClaim", "uid": "u-2"}
FAILED = event(NAME, "ProvisioningFailed", "no room", seen="2026-01-01T00:00:09Z", **CLAIM)


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        ("Bound", [event(NAME, "ExternalProvisioning", "waiting for x", **CLAIM)]),
        ("Pending", [event(NAME, "ProvisioningFailed", "y not found", **{**CLAIM, "uid": "u-1"})]),
        (
            "Pending",
            [FAILED, event(NAME, "ZProvisioning", "…", seen="2026-01-01T00:00:10Z", **CLAIM)],
        ),
        (
            "Pending",
            [event(NAME, "AProvisioning", "…", seen="2026-01-01T00:00:10Z", **CLAIM), FAILED],
        ),
    ],
)
def test_a_claim_that_has_its_volume_or_may_get_it_keeps_no_loader_waiting(cluster, phase, said):
    job = loader.document(NAME, values(), 1, beside=None)
    document = claim.document(NAME, values(), CARGO)
    document["metadata"]["uid"] = "u-2"
    cluster.create(CLAIMS, {**document, "status": {"phase": phase}})
    for each in said:
        cluster.create(cluster.path("v1", "events"), each)

    def sleep(_):  # the image is there by now
        labels = {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        pod = {"metadata": {"name": "pod-1", "labels": labels}, "status": ready}
        cluster.create(cluster.path("v1", "pods"), pod)

    work = Loader(cluster, NAME, nothing, sleep)
    work.begin(job)
    assert work.pod() == "pod-1"


def test_a_loader_that_is_gone_is_said(cluster):
    work = Loader(cluster, NAME, nothing, nothing)
    work.begin(loader.document(NAME, values(), 1, beside=None))
    work.end()
    assert work.has_ended()
    with pytest.raises(ClusterError, match="its Job is gone"):
        work.pod()


def test_what_was_said_of_a_claim_that_is_no_more_is_not_said_of_its_heir(cluster, monkeypatch):
    said = [event(NAME, "ProvisioningFailed", "y not found", **{**CLAIM, "uid": "u-1"})]
    monkeypatch.setattr(survey.jobs, "events_of", lambda _, kind: said if kind != "Pod" else [])
    waiting = {
        "type": "PodScheduled",
        "status": "False",
        "message": "unbound PersistentVolumeClaim",
    }
    pod = {"metadata": {"name": "chat-1"}, "status": {"conditions": [waiting]}}
    for uid, seen in (("u-1", said), ("u-2", [])):
        cluster.documents[f"{CLAIMS}/{NAME}"] = {"metadata": {"name": NAME, "uid": uid}}
        assert survey.events_about(cluster, [pod]) == seen
