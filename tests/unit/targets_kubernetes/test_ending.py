"""Pods that end are waited for, and no longer than that is of use."""

from datetime import UTC, datetime, timedelta

import pytest

from deployctl.targets.kubernetes import caches, ending
from deployctl.targets.kubernetes.cluster import ForbiddenError
from deployctl.targets.kubernetes.survey import all_of, of_service

BEGIN = datetime(2026, 11, 27, 12, tzinfo=UTC)
PODS = "/api/v1/namespaces/llm/pods"
PART = "app.kubernetes.io/component"
CLAIMS = "/api/v1/namespaces/llm/persistentvolumeclaims"


class Ending:
    """Pods of a service that is being taken down, and time that passes when it is slept."""

    def __init__(self, cluster):
        self.cluster, self.passed, self.told = cluster, 0.0, []
        self.gone_at = {}
        cluster.at = BEGIN

    def pod(self, name, *, ends_s=None, gone_s=None, lost=False, phase="Running"):
        labels = dict(each.split("=") for each in of_service("chat").split(","))
        metadata = {"name": name, "labels": labels}
        if ends_s is not None:
            ends = BEGIN + timedelta(seconds=ends_s)
            metadata["deletionTimestamp"] = ends.strftime("%Y-%m-%dT%H:%M:%SZ")
        told = {"Ready": not lost, "ContainersReady": True}
        conditions = [{"type": kind, "status": str(is_so)} for kind, is_so in told.items()]
        status = {"phase": phase, "conditions": conditions}
        self.cluster.create(
            PODS, {"metadata": metadata, "spec": {"nodeName": "node-2"}, "status": status}
        )
        if gone_s is not None:
            self.gone_at[name] = gone_s

    def sleep(self, seconds):
        self.passed += seconds
        self.cluster.at = BEGIN + timedelta(seconds=self.passed)
        for name, at in self.gone_at.items():
            if self.passed >= at:
                self.cluster.documents.pop(f"{PODS}/{name}", None)

    def wait(self):
        def tell(event):
            self.told.append((event.kind, event.text))

        ending.wait(self.cluster, all_of("chat"), tell, clock=lambda: self.passed, sleep=self.sleep)


@pytest.fixture
def ends(cluster):
    return Ending(cluster)


def test_pods_that_end_are_waited_for(ends):
    ends.pod("a", ends_s=30, gone_s=12)
    ends.pod("b", gone_s=1)
    ends.pod("smoke", phase="Succeeded")
    ends.wait()
    assert ends.passed == 12
    assert ends.told == [("note", "waiting for 1 pod to end, 43.0 s at most")]


def test_what_is_gone_at_once_is_not_talked_of(ends):
    ends.pod("a", ends_s=30, gone_s=1)
    ends.wait()
    assert (ends.passed, ends.told) == (1, [])


def test_one_whose_node_is_cut_off_is_not_waited_for(ends):
    ends.pod("a", ends_s=30, lost=True)
    ends.wait()
    assert ends.passed == 0
    ((kind, said),) = ends.told
    assert kind == "warning"
    assert "a stays: its node node-2 does not report" in said
    assert "kubectl delete node node-2" in said


@pytest.mark.parametrize(("ends_s", "waited_s"), [(30, 45), (None, 30)])
def test_one_that_does_not_end_is_waited_for_so_long(ends, ends_s, waited_s):
    ends.pod("a", ends_s=ends_s)
    ends.pod("b", ends_s=5, lost=True)
    ends.wait()
    assert ends.passed == waited_s
    assert [kind for kind, _ in ends.told] == ["note", "warning", "warning"]
    assert "node-2 has not ended it within its grace period" in ends.told[1][1]


def test_a_claim_that_a_pod_still_has_is_said_to_go_with_it(cluster, monkeypatch):
    labels = dict(each.split("=") for each in of_service("chat").split(","))
    cluster.create(CLAIMS, {"metadata": {"name": "chat-cache", "labels": labels}})
    told = []
    monkeypatch.setattr(cluster, "delete", lambda path: True)
    caches.remove(cluster, "chat", lambda event: told.append(event.text))
    monkeypatch.undo()
    caches.remove(cluster, "chat", lambda event: told.append(event.text))
    assert told == [
        "claim chat-cache goes with the last pod that has it",
        "removed claim chat-cache",
    ]


def test_whoever_may_not_look_at_pods_does_not_wait(ends, monkeypatch):
    def refused(path, **_):
        raise ForbiddenError("no right")

    monkeypatch.setattr(ends.cluster, "items", refused)
    ends.wait()
    assert (ends.passed, [kind for kind, _ in ends.told]) == (0, ["note"])


def test_a_pod_that_pulls_an_image_is_none_of_them(ends):
    ends.pod("pull", lost=True)
    ends.cluster.documents[f"{PODS}/pull"]["metadata"]["labels"][PART] = "pull"
    ends.wait()
    assert ends.told == []
