"""A checkpoint of this machine on a claim of a real cluster: sent once, shared, and what fails.

Most end before an engine is started; where one is, it is a fake, but for one at night.
"""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from tests.e2e.docker_parts import until

LARGE = 200 * 1024 * 1024  # bytes that take a while to send
# All that `up` does, but for the way into a pod.
ROLE = [
    {"apiGroups": ["", "apps", "batch", "coordination.k8s.io", "networking.k8s.io", "policy"],
     "resources": ["pods", "pods/log", "events", "secrets", "configmaps", "services", "leases",
                   "serviceaccounts", "persistentvolumeclaims", "jobs", "deployments",
                   "replicasets", "networkpolicies", "poddisruptionbudgets"],
     "verbs": ["*"]},
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, tiny_checkpoint):
    return shutil.copytree(tiny_checkpoint, tmp_path / "own-awq")


@pytest.fixture
def large(folder):
    (folder / "padding.txt").write_bytes(os.urandom(LARGE))
    return folder


@pytest.fixture
def words(namespace, fake_image, folder):
    """Options of `up`: the folder, and no values that name what holds it."""

    def words(*more, name="chat", **upload):
        model = {"hostPath": "", "upload": upload}
        return namespace.words(fake_image, folder, *more, name=name, values={"model": model})

    return words


@pytest.fixture
def begin(namespace):
    """`deployctl` in the background, until it says something."""
    begun = []

    def begin(*given, until_it_says):
        child = subprocess.Popen(
            [sys.executable, "-m", "deployctl", *map(str, given)],
            env=namespace.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(child)
        said = []
        for line in child.stderr:
            said.append(line)
            if until_it_says in line:
                return child
        raise AssertionError("".join(said))

    yield begin
    for child in begun:
        child.kill()
        child.communicate()


def claims(namespace):
    return {c["metadata"]["name"]: c["metadata"]["annotations"] for c in namespace.get("pvc")}


def loaders(namespace):
    return [j["metadata"]["name"] for j in namespace.get("jobs")]


def test_a_folder_is_sent_once_and_goes_with_its_last_user(namespace, words):
    level = "pod-security.kubernetes.io/enforce=restricted"
    namespace.cluster.kubectl("label", "namespace", namespace.name, level)
    first = namespace("up", *words()).stderr
    (claim,) = claims(namespace)
    assert f"sending 15.5 MiB of own-awq to claim {claim}" in first
    assert loaders(namespace) == []
    (pod,) = namespace.get("pods")
    (mount,) = [m for m in pod["spec"]["containers"][0]["volumeMounts"] if m["name"] == "model"]
    assert mount["readOnly"]
    assert "unchanged" in namespace("up", *words()).stderr

    second = namespace("up", *words(name="code")).stderr
    assert "sending" not in second
    assert "all pods of code and of chat, which use it too, run there" in second
    assert f"claim {claim} (own-awq); deployctl down chat --vol" in namespace("down", "chat").stderr
    down = namespace("down", "chat", "--volumes").stderr
    assert f"kept claim {claim} (own-awq): used by code" in down
    assert f"removed claim {claim} (own-awq)" in namespace("down", "code", "--volumes").stderr
    until(lambda: not claims(namespace), seconds=60, what="the claim is gone")


@pytest.mark.night
def test_of_what_was_cut_by_a_kill_only_the_rest_is_sent(namespace, words, large, begin):
    child = begin("up", *words(), until_it_says="sending")
    until(lambda: came(namespace) > LARGE / 10, seconds=120, what="a tenth is there")
    child.send_signal(signal.SIGKILL)
    child.wait()
    again = namespace("up", *words()).stderr
    assert " are there" in again
    assert "whole: 215.5 MiB" in again
    assert loaders(namespace) == []


def came(namespace):
    """Bytes of files that are half there."""
    (pod,) = [p["metadata"]["name"] for p in namespace.get("pods") if "loader" in str(p)]
    sizes = "from pathlib import Path; print(sum(f.stat().st_size for f in " \
        "Path('/claim/.deployctl/parts').iterdir()))"  # fmt: skip
    return int(namespace.kubectl("exec", pod, "--", "python3", "-c", sizes))


@pytest.mark.night
def test_of_two_services_at_once_one_sends(namespace, words, large, begin):
    first = begin("up", *words(), until_it_says="sending")
    first.send_signal(signal.SIGSTOP)  # a slow one: it is not done before the other looks
    second = begin("up", *words(name="code"), until_it_says="waiting: model-")
    first.send_signal(signal.SIGCONT)
    _, said = second.communicate(timeout=300)
    assert second.returncode == 0, said
    assert "sending" not in said
    first.communicate(timeout=300)
    assert first.returncode == 0


def test_a_file_that_changes_while_it_is_sent_is_refused(namespace, words, large, begin):
    child = begin("up", *words(), until_it_says="sending")
    with (large / "padding.txt").open("r+b") as stream:
        stream.seek(-4, os.SEEK_END)
        stream.write(b"else")
    _, said = child.communicate(timeout=300)
    assert child.returncode == 2
    assert "padding.txt" in said
    assert "changed while it was sent" in said
    assert loaders(namespace) == []
    assert all("deployctl.io/whole" not in noted for noted in claims(namespace).values())


def test_after_ctrl_c_the_loader_is_gone_and_what_came_is_kept(namespace, words, large, begin):
    child = begin("up", *words(), until_it_says="sending")
    until(lambda: came(namespace) > 0, seconds=60, what="something is there")
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=120)
    assert child.returncode == 130
    assert "what has come is kept" in said
    assert loaders(namespace) == []
    assert len(claims(namespace)) == 1


def test_a_storage_class_that_is_not_there_is_named(namespace, words):
    said = namespace("up", *words(storageClass="nowhere"), code=4).stderr
    assert '"nowhere" not found' in said
    assert "kubectl get storageclass" in said
    assert (claims(namespace), loaders(namespace)) == ({}, [])


def test_a_quota_on_claims_is_said(namespace, words):
    namespace.kubectl("create", "quota", "few", "--hard=persistentvolumeclaims=0")
    said = namespace("up", *words(), code=4).stderr
    assert "exceeded quota: few" in said
    assert loaders(namespace) == []


def test_the_right_that_is_missing_is_named(namespace, words):
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "few"}, "rules": ROLE}  # fmt: skip
    namespace.kubectl("apply", "-f", "-", data=json.dumps(role))
    namespace.kubectl("create", "rolebinding", "few", "--role=few", "--user=ann")
    said = namespace("up", *words("--as", "ann"), code=4).stderr
    assert "pods/portforward" in said
    assert (claims(namespace), loaders(namespace)) == ({}, [])


def test_an_image_holds_the_checkpoint_instead(namespace, words, fake_image, folder):
    model = {"hostPath": "", "image": fake_image, "subPath": "etc"}
    given = namespace.words(fake_image, folder, values={"model": model})
    namespace("up", *given)
    assert claims(namespace) == {}
    (pod,) = namespace.get("pods")
    listed = namespace.kubectl("exec", pod["metadata"]["name"], "--", "ls", "/models/chat")
    assert "passwd" in listed.split()


@pytest.mark.night
@pytest.mark.vllm
def test_a_real_engine_serves_what_was_sent_and_the_next_revision_sends_nothing(
    namespace, vllm_image, folder
):
    given = namespace.words(vllm_image, folder, values={"model": {"hostPath": "", "upload": {}}})
    assert "sending 15.5 MiB of own-awq" in namespace("up", *given).stderr
    assert namespace.status("chat")["health"] == "serving"
    first = namespace.engines()
    assert "sending" not in namespace("up", *given, "--max-num-seqs", "4").stderr
    assert not set(namespace.engines()) & set(first)
    assert namespace.status("chat")["health"] == "serving"
    assert len(claims(namespace)) == 1
