"""The Helm bundle: what a plan says in the chart's values, and what it refuses."""

import pytest
import yaml

from deployctl import assets
from deployctl.errors import InputError, PlanRefusedError, SpecError
from deployctl.hardware import load_profile
from deployctl.hardware.profiles import NodeTaint
from deployctl.planning.plan import CardOption
from deployctl.render import Bundle, modelclaim
from deployctl.render.helm import VALUES_FILE, helm_values, merge, render_helm
from deployctl.render.manifests import KUSTOMIZATION, render_manifests
from deployctl.render.readme import kubernetes_readme
from deployctl.render.values import Values

CLAIM = {"model": {"claim": "models"}}


def values(plan, spec, profile="cpu", overrides=None):
    return helm_values(plan, spec, load_profile(profile), overrides)


def test_only_what_differs_from_the_chart_is_said(planned):
    plan, spec = planned("awq", "l4", name="qwen")
    said = values(plan, spec, "l4")
    assert said["name"] == "qwen"
    assert "drain" not in said
    assert "port" not in said["engine"]
    # Even so: a newer chart must not change what runs.
    assert said["engine"]["image"] == plan.engine.image
    assert said["engine"]["version"] == plan.engine.version
    assert list(said) == [key for key in Values().model_dump(by_alias=True) if key in said]


def test_the_plan_s_figures_reach_the_values(planned):
    plan, spec = planned("awq", "rtx4090", name="qwen", gpus=2, tensor_parallel_size=2)
    said = Values.model_validate(values(plan, spec, "rtx4090"))
    assert said.gpu.count == 2
    assert said.probes.startup_seconds == plan.startup_budget_s
    assert said.resources.shared_memory == f"{plan.shm_gib:.0f}Gi"
    assert said.engine.env["NCCL_P2P_DISABLE"] == "1"
    assert said.model.revision == plan.revision


def test_the_memory_limit_has_room_for_images_and_is_none_where_nobody_can_tell(planned):
    def limit(**arguments):
        plan, spec = planned("awq", "l4", name="qwen", engine_args=arguments)
        said = values(plan, spec, "l4")["resources"]["memoryLimit"]
        return said if said == "none" else int(said.removesuffix("Gi"))

    assert limit(mm_processor_cache_gb=20) == limit() + 2 * (20 - 4)
    assert limit(mm_processor_cache_gb=0) == limit() - 2 * 4
    assert limit(kv_transfer_config={"kv_connector": "LMCacheConnectorV1"}) == "none"


def test_the_same_plan_gives_the_same_bytes_and_the_whole_chart(planned):
    plan, spec = planned("awq", "l4")
    bundle = render_helm(plan, spec, load_profile("l4"))
    assert bundle == render_helm(plan, spec, load_profile("l4"))
    chart = assets.path("charts", "vllm")
    files = [p for p in chart.rglob("*") if p.is_file() and p.parent.name != "__pycache__"]
    there = {f"chart/{p.relative_to(chart)}" for p in files}
    assert set(bundle.files) == there | {VALUES_FILE}


def test_a_folder_of_this_machine_needs_a_volume(by_hand):
    plan, spec = by_hand()
    with pytest.raises(InputError) as caught:
        values(plan, spec)
    assert "claim" in caught.value.hint
    said = values(plan, spec, overrides=CLAIM)
    assert said["model"] == {"id": plan.name, "claim": "models"}
    assert "/srv/tiny" not in str(said)


def test_a_checkpoint_that_is_brought_has_a_claim_named_after_its_content(by_hand):
    plan, spec = by_hand()
    digest = "0123456789abcdef" * 4
    brought = {"model": {"digest": digest}}
    said = values(plan, spec, overrides=brought)["model"]
    assert said == {"id": plan.name, "claim": "model-0123456789abcdef", "digest": digest}
    upload = {"model": {"digest": digest, "upload": {"accessMode": "ReadWriteMany"}}}
    scaled = {"kind": "keda", "maxReplicas": 3, "prometheusUrl": "http://prometheus:9090"}
    for over in (upload, {**brought, "replicas": 2}, {**brought, "autoscaling": scaled}):
        shared = values(plan, spec, overrides=over)["model"]["claim"]
        assert shared == "model-0123456789abcdef-shared"  # a claim's mode cannot be changed
    bundle = render_helm(plan, spec, load_profile("cpu"), brought)
    assert modelclaim.brought(bundle).model.claim == "model-0123456789abcdef"
    assert modelclaim.brought(render_helm(plan, spec, load_profile("cpu"), CLAIM)) is None


def test_more_cards_than_a_node_has_are_refused_with_a_way_out(by_hand):
    plan, spec = by_hand(
        accelerator="cuda", tensor_parallel_size=16, pipeline_parallel_size=1, model_local=False
    )
    with pytest.raises(PlanRefusedError, match="uses 16 cards, and a node holds 8") as caught:
        values(plan, spec, "l4")
    assert "--pipeline-parallel-size" in caught.value.hint


def test_nodes_tolerations_and_runtime_come_from_the_profile(planned):
    plan, spec = planned("awq", "l4")
    profile = load_profile("l4").model_copy(
        update={
            "runtime_class": "nvidia",
            "tolerations": (NodeTaint(key="dedicated", value="llm"), NodeTaint(key="spot")),
        }
    )
    said = helm_values(plan, spec, profile)["scheduling"]
    assert said["runtimeClassName"] == "nvidia"
    assert [t["key"] for t in said["tolerations"]] == ["nvidia.com/gpu", "dedicated", "spot"]
    assert [t["operator"] for t in said["tolerations"]] == ["Exists", "Equal", "Exists"]
    assert said["gpuNodes"][0] == {"nvidia.com/gpu.product": "NVIDIA-L4"}


def test_a_slice_is_the_resource_that_nvidia_s_plugin_names(by_hand):
    plan, spec = by_hand(accelerator="cuda", gpu="h100:1g.10gb")
    said = helm_values(plan, spec, load_profile("h100:1g.10gb"), CLAIM)
    assert said["gpu"] == {"count": 1, "resource": "nvidia.com/mig-1g.10gb"}
    assert said["scheduling"]["gpuNodes"] == [{"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}]
    own = helm_values(
        plan,
        spec,
        load_profile("h100:1g.10gb"),
        merge(CLAIM, {"gpu": {"resource": "nvidia.com/gpu"}}),
    )
    assert "resource" not in own["gpu"]  # strategy `single` of the plugin: the chart's default


def test_cards_of_a_host_mean_nothing_in_a_cluster(by_hand):
    plan, spec = by_hand(env={"CUDA_VISIBLE_DEVICES": "1"})
    with pytest.raises(InputError, match="CUDA_VISIBLE_DEVICES"):
        values(plan, spec, overrides=CLAIM)


def test_values_of_the_user_s_own_win_and_are_checked(by_hand):
    plan, spec = by_hand()
    own = merge(CLAIM, {"replicas": 3, "engine": {"port": 9000}})
    said = values(plan, spec, overrides=own)
    assert said["replicas"] == 3
    assert said["engine"]["port"] == 9000
    for wrong, where in (
        ({"replicas": "3"}, "values: replicas"),
        ({"replica": 3}, "values: replica"),
        ({"engine": {"prot": 1}}, "values: engine/prot"),
        ({"labels": {"a b": "c"}}, "values: labels/a b"),
    ):
        with pytest.raises(SpecError) as caught:
            values(plan, spec, overrides=merge(CLAIM, wrong))
        assert caught.value.where.startswith(where)


def test_a_default_can_be_taken_away_as_helm_reads_it(by_hand):
    plan, spec = by_hand()
    said = values(plan, spec, overrides=merge(CLAIM, {"networkPolicy": {"prometheus": {}}}))
    assert said["networkPolicy"] == {"prometheus": {"namespace": ""}}
    said = values(plan, spec, overrides=merge(CLAIM, {"dashboards": {"labels": {"a": "b"}}}))
    assert said["dashboards"] == {"labels": {"a": "b", "grafana_dashboard": None}}


def test_no_secret_and_no_path_of_this_machine_is_in_the_bundle(by_hand, tmp_path):
    key = tmp_path / "key"
    key.write_text("s3cret")
    plan, spec = by_hand(api_key_file=key, expose=True)
    text = "".join(render_helm(plan, spec, load_profile("cpu"), CLAIM).files.values())
    assert "s3cret" not in text
    assert str(tmp_path) not in text


TEMPLATED = """\
---
# Source: vllm/templates/engine/secret.yaml
kind: Secret
metadata: {name: a}
---
# Source: vllm/templates/engine/deployment.yaml
kind: Deployment
metadata:
  name: d
  namespace: "x"
---
# Source: vllm/templates/engine/secret.yaml
kind: Secret
metadata: {name: b}
"""


def test_manifests_are_a_file_a_template_in_a_stable_order(by_hand):
    plan, _ = by_hand()
    files = render_manifests(plan, TEMPLATED).files
    assert list(files) == [KUSTOMIZATION, "engine/deployment.yaml", "engine/secret.yaml"]
    assert len(list(yaml.safe_load_all(files["engine/secret.yaml"]))) == 2
    assert "# Source" not in "".join(files.values())
    with pytest.raises(ValueError, match="without its source"):
        render_manifests(plan, "kind: Pod\n")


def test_readme_golden(golden, planned):
    plan, spec = planned("awq", "l4", name="qwen", gpus=2)
    bundle = render_helm(plan, spec, load_profile("l4"))
    golden("render/helm-l4.README.md", kubernetes_readme(plan, bundle))


def test_what_a_replica_over_several_nodes_needs_is_said(planned):
    plan, spec = planned("awq", "l4", name="qwen")
    bundle = render_helm(plan, spec, load_profile("l4"), {"group": {"size": 2}})
    said = kubernetes_readme(plan.model_copy(update={"pipeline_parallel_size": 2}), bundle)
    assert "2 free cards on 2 nodes (l4)" in said
    assert "LeaderWorkerSet, installed" in said


def test_a_group_is_waited_for_by_its_own_name(planned):
    plan, _ = planned("awq", "l4", name="qwen")
    workload = {"kind": "LeaderWorkerSet", "spec": {"leaderWorkerTemplate": {"size": 2}}}
    files = {"engine/leaderworkerset.yaml": yaml.safe_dump(workload)}
    bundle = Bundle(target="manifests", service="qwen", files=files)
    said = kubernetes_readme(plan, bundle)
    assert "wait --for=condition=Available leaderworkerset/qwen-group --timeout" in said


def test_who_claims_cards_needs_their_driver(planned):
    plan, spec = planned("awq", "l4", name="qwen")
    cards = tuple(
        CardOption(gpu=name, title=name, verdict="fits", memory_mib=20000)
        for name in ("l4", "a100-40gb")
    )
    bundle = render_helm(plan, spec, load_profile("l4"))
    said = kubernetes_readme(plan.model_copy(update={"cards": cards}), bundle)
    assert "Kubernetes 1.34 or newer" in said
    assert "NVIDIA's DRA driver, and for each of 1 replicas one free card (l4, a100-40gb)." in said
