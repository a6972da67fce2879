"""The namespace and its volumes: what it allows, and what claims are given."""

import copy
from dataclasses import replace

import pytest
from tests.unit.doctor.cluster_parts import (
    QUOTAS,
    RANGES,
    RECORDED,
    RecordedCluster,
    check,
    checks,
    claim,
    deployment,
    free,
    question,
)

from deployctl.doctor.cluster.storage_checks import writers


@pytest.mark.parametrize(
    ("asked", "id", "status", "words"),
    [
        (question(deployment(gpus=2)), "quota", "fail",
         "requests.nvidia.com/gpu 1 left of 1, 2 asked for (q)"),
        (question(claim(size="50Gi"), deployment()), "quota", "fail", "requests.storage"),
        (question(), "quota", "pass", "pods 4 left of 4"),
        (question(deployment(memory="9Gi")), "limit-range", "fail", "max of a Container is 8Gi"),
        (question(), "limit-range", "warn", "are given 1: it stalls the engine"),
        (question(), "pod-security", "pass", "restricted, which the chart's pods keep to"),
        (question(deployment(volumes=[{"name": "m", "hostPath": {"path": "/x"}}])),
         "pod-security", "fail", "restricted forbids the folder of a node that chat mounts"),
    ],
)  # fmt: skip
def test_what_the_namespace_allows(asked, id, status, words):
    found = check(id, RecordedCluster(), asked)
    assert (found.status, words in found.detail) == (status, True), found


def test_a_quota_of_limits_wants_each_pod_to_have_one():
    found = check("quota", RecordedCluster(**{RANGES: []}))
    assert found.status == "fail"
    assert "limits.cpu is limited, so each pod must have one" in found.detail
    assert "cpuLimit" in found.yaml


def test_what_admission_says_of_a_pod_on_trial():
    refused = "admission webhook kyverno denied the request: no label team"
    found = check("admission", RecordedCluster(refuses=refused))
    assert (found.status, found.detail) == ("fail", refused)
    assert not [c for c in checks(RecordedCluster()) if c.id == "admission"]


@pytest.mark.parametrize(
    ("provisioner", "mode", "status"),
    [
        ("ebs.csi.aws.com", "ReadWriteMany", "fail"),
        ("ebs.csi.aws.com", "ReadWriteOnce", "pass"),
        ("rook-ceph.cephfs.csi.ceph.com", "ReadWriteMany", "pass"),
        ("nobody.knows/it", "ReadWriteMany", "warn"),
        ("kubernetes.io/no-provisioner", "ReadWriteOnce", "warn"),
    ],
)
def test_claims_against_what_a_provisioner_gives(provisioner, mode, status):
    path = "/apis/storage.k8s.io/v1/storageclasses"
    [storage_class] = copy.deepcopy(RECORDED[path])
    storage_class["provisioner"] = provisioner
    cluster = RecordedCluster(**free(), **{path: [storage_class]})
    assert check("claim", cluster, question(claim(mode=mode))).status == status


def test_a_claim_of_ones_own_must_be_there():
    volume = {"name": "m", "persistentVolumeClaim": {"claimName": "models"}}
    asked = question(deployment(volumes=[volume]))
    assert check("claim", RecordedCluster(), asked).status == "fail"
    there = {**claim("models"), "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}}}
    path = "/api/v1/namespaces/llm/persistentvolumeclaims"
    assert check("claim", RecordedCluster(**{path: [there]}), asked).detail.startswith(
        "bound, 10Gi"
    )


def test_a_claim_must_hold_the_weights():
    volume = {"name": "m", "persistentVolumeClaim": {"claimName": "models"}}
    asked = question(deployment(volumes=[volume]))
    asked = replace(asked, weights={"chat": 20.0 * 2**30})
    there = {**claim("models"), "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}}}
    path = "/api/v1/namespaces/llm/persistentvolumeclaims"
    found = check("claim", RecordedCluster(**{path: [there]}), asked)
    assert (found.status, "the weights are 20.0 GiB" in found.detail) == ("fail", True)


def test_volumes_of_others_show_what_a_class_gives():
    asked = question(claim(mode="ReadWriteMany"))
    assert check("claim", RecordedCluster(**free()), asked).status == "warn"
    shared = {"spec": {"storageClassName": "standard", "accessModes": ["ReadWriteMany"]}}
    there = {"/api/v1/persistentvolumes": [shared]}
    assert check("claim", RecordedCluster(**free(), **there), asked).status == "pass"


def test_a_class_that_is_not_there_is_named():
    found = check("claim", RecordedCluster(), question(claim(storage_class="fast")))
    assert "there is no storage class fast; there are: standard" in found.detail


def test_a_secret_that_is_named_must_be_there():
    asked = question(deployment(imagePullSecrets=[{"name": "pull"}]))
    assert check("secret", RecordedCluster(), asked).status == "fail"
    there = {"/api/v1/namespaces/llm/secrets": [{"metadata": {"name": "pull"}}]}
    assert check("secret", RecordedCluster(**there), asked).status == "pass"


def test_provisioners_are_known_by_name_and_by_its_end():
    assert writers("efs.csi.aws.com") == "many"
    assert writers("rook-ceph.rbd.csi.ceph.com") == "once"
    assert writers("xebs.csi.aws.com") is None
    assert QUOTAS in RECORDED
