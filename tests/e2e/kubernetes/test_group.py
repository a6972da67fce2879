"""A replica over several nodes, as LeaderWorkerSet's controller makes it; no engine starts."""

import json

import pytest
from tests.e2e.docker_parts import until
from tests.e2e.kubernetes.clusters import TAINT

from known import tiny_folder

VALUES = {
    "resources": {"cpu": "1m", "memory": "1Mi", "memoryLimit": "99Gi"},
    "cache": {"enabled": False},
    "scheduling": {
        "gpuNodes": [],
        "nodeSelector": {"type": "kwok"},
        "tolerations": [{"key": key, "operator": "Exists"} for key in (TAINT, "nvidia.com/gpu")],
    },
}


@pytest.mark.night
def test_a_group_is_made_of_a_plan_with_stages(cluster, namespace, tmp_path):
    cluster.needs("leaderworkersets.leaderworkerset.x-k8s.io", "hollow")
    model = tiny_folder(tmp_path / "tiny")
    file = tmp_path / "values.json"
    file.write_text(json.dumps({**VALUES, "model": {"hostPath": str(model)}}))
    words = ("--model", model, "--name", "chat", "--gpu", "a10", "--gpus", "8",
             "--tensor-parallel-size", "4", "--pipeline-parallel-size", "2")  # fmt: skip
    refused = namespace("up", *words, "--target", "kubernetes", "--values", file, code=3)
    assert "does not watch a replica over several nodes" in refused.stderr
    manifests = namespace("render", *words, "--target", "manifests", "--values", file,
                          "--namespace", namespace.name).stdout  # fmt: skip
    namespace.kubectl("apply", "--filename=-", data=manifests)
    until(lambda: len(namespace.pods()) == 2, seconds=60, what="a group of two pods")

    def placed():
        return {p["metadata"]["name"]: p["spec"].get("nodeName") for p in namespace.get("pods")}

    until(lambda: all(placed().values()), seconds=60, what="a node for each")
    assert set(placed()) == {"chat-group-0", "chat-group-0-1"}
    pods = {pod["metadata"]["name"]: pod for pod in namespace.get("pods")}
    told = {
        e["name"]: e.get("value") for e in pods["chat-group-0-1"]["spec"]["containers"][0]["env"]
    }
    leader = f"chat-group-0.chat-group.{namespace.name}"
    assert (told["LWS_WORKER_INDEX"], told["LWS_LEADER_ADDRESS"]) == ("1", leader)

    def answers():
        slices = namespace.get("endpointslices", "--selector=kubernetes.io/service-name=chat")
        ends = [end for each in slices for end in each["endpoints"] or ()]
        return [end["targetRef"]["name"] for end in ends]

    until(lambda: answers() == ["chat-group-0"], seconds=60, what="the leader in the Service")
