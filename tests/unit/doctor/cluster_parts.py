"""A cluster as a real one of Kubernetes 1.37 answered, and objects as Helm makes them.

The recorded one: node-1 and node-2 with four L4s each, of which a pod on node-2 has three; three
nodes that are hollow, tainted, with eight each, and slices of cards for claims; a namespace llm
with a quota, a range of limits and pod security level restricted.
"""

import copy
import json
from pathlib import Path

from deployctl.doctor.cluster.examine import examine
from deployctl.doctor.cluster.facts import ClusterQuestion
from deployctl.doctor.cluster.needs import needs_of
from deployctl.doctor.cluster.probes import gather
from deployctl.doctor.shell import Ran
from deployctl.hardware import load_profile
from deployctl.targets.kubernetes.cluster import Cluster, ForbiddenError

RECORDED = json.loads(Path(__file__).with_name("recorded_cluster.json").read_text())
HELM = Ran(0, "v4.3.1+gabc\n")
L4 = [{"nvidia.com/gpu.product": "NVIDIA-L4"}]
RANGES, QUOTAS = (f"/api/v1/namespaces/llm/{kind}" for kind in ("limitranges", "resourcequotas"))


class RecordedCluster(Cluster):
    """Answers by path. `may` says which verbs on which resources; `forbidden` paths are refused."""

    context, namespace = "lab", "llm"

    def __init__(self, may=lambda right: True, forbidden=(), refuses="", **changed):
        self.answers = {**copy.deepcopy(RECORDED), **changed}
        self.may, self.forbidden, self.refuses = may, forbidden, refuses
        self.asked = []

    def _found(self, path):
        self.asked.append(path)
        if path in self.forbidden:
            raise ForbiddenError(
                f'{path} is forbidden: User "ann" cannot list resource "{path.rpartition("/")[2]}" '
                'in API group "" at the cluster scope'
            )
        return copy.deepcopy(self.answers.get(path))

    def get(self, path, **query):
        return self._found(path)

    def items(self, path, **query):
        return self._found(path) or []

    metadata = items

    def clock_skew_s(self):
        return 0.3

    def create(self, path, document, **query):
        if document["kind"] == "SelfSubjectReview":
            return {"status": {"userInfo": {"username": "ann", "groups": ["devs"]}}}
        if document["kind"] == "Pod":
            assert query == {"dryRun": "All"}
            if self.refuses:
                raise ForbiddenError(f"the cluster refuses (HTTP 403): {self.refuses}")
            return document
        return {"status": {"allowed": self.may(document["spec"]["resourceAttributes"])}}


def deployment(name="chat", *, gpus=1, replicas=1, memory="4Gi", nodes=L4, **spec):
    """As the chart makes it, with what a check may ask for."""
    limits = {"memory": memory, **({"nvidia.com/gpu": gpus} if gpus else {})}
    affinity = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": k, "operator": "In", "values": [v]}]}
                    for labels in nodes
                    for k, v in labels.items()
                ]
            }
        }
    }
    container = {
        "name": "engine",
        "image": "vllm/vllm-openai:v0.32.0",
        "resources": {"requests": {"cpu": "1", **limits}, "limits": limits},
    }
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    pod = {"containers": [container], "tolerations": tolerations, **spec}
    pod |= {"affinity": affinity} if nodes else {}
    return {
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "template": {"spec": pod}},
    }


def claim(name="chat-cache", *, size="10Gi", mode="ReadWriteOnce", storage_class=None):
    """As the chart makes it."""
    spec = {"accessModes": [mode], "resources": {"requests": {"storage": size}}}
    spec |= {"storageClassName": storage_class} if storage_class else {}
    return {"kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def question(*documents, planned=True, gpu="l4"):
    """Asked about one service, chat, that has these objects."""
    objects = [("chat", document) for document in documents or (deployment(),)]
    return ClusterQuestion(needs_of(objects, planned=planned), load_profile(gpu) if gpu else None)


def checks(cluster, asked=None, *, helm=HELM):
    """All checks of a cluster."""
    asked = asked or question()
    return examine(gather(cluster, asked, run=lambda argv, seconds: helm), asked)


def check(id, cluster, asked=None, **options):
    """The only check of that id."""
    [found] = [c for c in checks(cluster, asked, **options) if c.id == id]
    return found


def free():
    """Of the recorded cluster what is not in the way of a service: no limits in its namespace."""
    namespace = copy.deepcopy(RECORDED["/api/v1/namespaces/llm"])
    namespace["metadata"]["labels"] = {}
    return {"/api/v1/namespaces/llm": namespace, RANGES: [], QUOTAS: []}
