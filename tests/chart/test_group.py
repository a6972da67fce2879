"""A replica over several nodes: from a plan with stages to a LeaderWorkerSet."""

import pytest
import yaml

from chart.helmtool import objects, template
from deployctl.checking import Severity, check_texts
from deployctl.errors import PlanRefusedError
from deployctl.render.helm import VALUES_FILE, render_helm
from known import planned

pytestmark = pytest.mark.helm
GROUP = "leaderworkerset.sigs.k8s.io"


@pytest.fixture
def values():
    """Two stages of four A10, of which a node has four."""
    plan, spec, profile = planned("unquantized", "a10", name="qwen", gpus=8,
                                  tensor_parallel_size=4, pipeline_parallel_size=2)  # fmt: skip
    assert "several_nodes_unproven" in [warning.code for warning in plan.warnings]
    return yaml.safe_load(render_helm(plan, spec, profile).files[VALUES_FILE])


@pytest.fixture
def found(values):
    return objects(values)


def containers(found):
    """The leader's and the worker's container."""
    spec = found["LeaderWorkerSet", "qwen-group"]["spec"]["leaderWorkerTemplate"]
    return [spec[f"{role}Template"]["spec"]["containers"][0] for role in ("leader", "worker")]


def test_a_node_has_a_stage(values, found):
    assert (values["gpu"]["count"], values["group"]) == (4, {"size": 2})
    assert ("Deployment", "qwen") not in found
    group = found["LeaderWorkerSet", "qwen-group"]["spec"]
    assert (group["replicas"], group["leaderWorkerTemplate"]["size"]) == (1, 2)
    assert group["leaderWorkerTemplate"]["restartPolicy"] == "RecreateGroupOnPodRestart"
    for container in containers(found):
        assert container["resources"]["limits"]["nvidia.com/gpu"] == 4


def test_the_leader_serves_and_workers_find_it(found):
    leader, worker = (container["args"] for container in containers(found))
    for words in (leader, worker):
        for flag, value in (
            ("--nnodes", "2"),
            ("--node-rank", "$(LWS_WORKER_INDEX)"),
            ("--master-addr", "$(LWS_LEADER_ADDRESS)"),
            ("--tensor-parallel-size", "4"),
            ("--pipeline-parallel-size", "2"),
        ):
            assert words[words.index(flag) + 1] == value
    assert "--headless" in worker
    assert "--headless" not in leader
    # `vllm serve` takes the model as it is; a worker answers nobody: no door, no probe, no port.
    assert worker[0] == "Qwen/Qwen2.5-7B-Instruct"
    assert "--middleware" in leader
    own = containers(found)[1]
    assert "--middleware" not in worker
    assert own["command"][-1] == "serve"
    assert not {"ports", "startupProbe", "readinessProbe", "livenessProbe"} & set(own)
    # It outlives the requests that its leader has to end.
    assert int(own["lifecycle"]["preStop"]["exec"]["command"][1]) == 70


def test_clients_reach_the_leader_and_the_group_itself(found):
    """Labels of the template do not reach pods: LeaderWorkerSet's own select them."""
    named = {f"{GROUP}/name": "qwen-group"}
    assert found["Service", "qwen"]["spec"]["selector"] == {**named, f"{GROUP}/worker-index": "0"}
    closed = found["NetworkPolicy", "qwen"]["spec"]
    assert closed["podSelector"]["matchLabels"] == named
    inside = [{"podSelector": {"matchLabels": named}}]
    assert {"from": inside} in closed["ingress"]
    assert {"to": inside} in closed["egress"]
    assert found["PodDisruptionBudget", "qwen"]["spec"]["selector"]["matchLabels"] == named


def test_several_pods_share_the_cache(found):
    assert found["PersistentVolumeClaim", "qwen-shared-cache"]["spec"]["accessModes"] == [
        "ReadWriteMany"
    ]


def test_check_finds_nothing_to_mend(values):
    report = check_texts({"rendered.yaml": template(values)})
    assert report.engines == 1
    told = [(f.code, f.message) for f in report.findings if f.severity != Severity.note]
    assert told == []


def test_stages_share_a_node_where_its_cards_allow():
    plan, spec, profile = planned("unquantized", "l4", gpus=16, tensor_parallel_size=4,
                                  pipeline_parallel_size=4)  # fmt: skip
    rendered = yaml.safe_load(render_helm(plan, spec, profile).files[VALUES_FILE])
    assert (rendered["gpu"]["count"], rendered["group"]) == (8, {"size": 2})


def test_a_release_without_the_flags_is_refused():
    plan, spec, profile = planned("unquantized", "a10", gpus=8, tensor_parallel_size=4,
                                  pipeline_parallel_size=2, engine_version="0.11.0")  # fmt: skip
    with pytest.raises(PlanRefusedError, match="with Ray alone") as caught:
        render_helm(plan, spec, profile)
    assert "0.11.1" in caught.value.hint
