"""What is in the objects: each of these has hurt somebody who served with vLLM on Kubernetes."""

import base64
import json
import re

import pytest
import yaml

from chart import helmtool
from chart.helmtool import engine, objects, one, planned, pod
from deployctl.render import render_compose, render_process
from deployctl.render.helm import VALUES_FILE, render_helm
from deployctl.render.process import COMMAND_FILE

pytestmark = pytest.mark.helm


def of_plan(method="awq", gpu="l4", **settings):
    plan, spec, profile = planned(method, gpu, name="qwen", **settings)
    values = yaml.safe_load(render_helm(plan, spec, profile).files[VALUES_FILE])
    return plan, spec, objects(values)


def kubernetes_reads(text):
    """What a container gets: $(NAME) of a known name is replaced, a doubled dollar is one."""
    return re.sub(r"\$\$|\$\(([^)]*)\)", lambda m: "$" if m[0] == "$$" else f"<{m[1]}>", text)


@pytest.mark.parametrize("gpu", ["l4", "cpu", "rtx4090"])
@pytest.mark.parametrize("method", ["awq", "gptq"])
def test_the_engine_gets_the_same_flags_from_every_target(method, gpu):
    settings = {"gpus": 2, "tensor_parallel_size": 2} if gpu == "rtx4090" else {}
    settings["engine_args"] = {"chat_template": "{{ '$(HOME)' }} $x", "max_num_seqs": 64}
    plan, spec, found = of_plan(method, gpu, **settings)
    process = json.loads(render_process(plan, spec).files[COMMAND_FILE])["arguments"][2:]
    compose = yaml.safe_load(render_compose(plan, spec).files["compose.yaml"])["services"]["engine"]
    docker = [word.replace("$$", "$") for word in compose["command"]]
    chart = [kubernetes_reads(word) for word in engine(found)["args"]]
    quiet = "--disable-access-log-for-endpoints"
    own = {"--host", "--port", "--shutdown-timeout", quiet} - set(plan.engine.args)

    def shared(words):
        pairs = zip(words, [*words[1:], ""], strict=True)
        dropped = {i + n for i, (word, _) in enumerate(pairs) if word in own for n in (0, 1)}
        return [word for i, word in enumerate(words) if i not in dropped]

    assert shared(process) == shared(docker) == shared(chart)
    assert shared(chart)[-3 - len(plan.engine.args) : -3] == list(plan.engine.args)


def test_the_environment_is_that_of_compose(monkeypatch):
    plan, spec, found = of_plan(env={"NCCL_DEBUG": "$(HOME)"}, expose=True)
    compose = yaml.safe_load(render_compose(plan, spec).files["compose.yaml"])["services"]["engine"]
    docker = {k: v.replace("$$", "$") for k, v in compose["environment"].items()}
    chart = {e["name"]: kubernetes_reads(e["value"]) for e in engine(found)["env"]}
    assert chart == docker


def test_memory_may_be_without_a_limit():
    free = {"resources": {"memoryLimit": "none"}}
    assert list(engine(objects(free))["resources"]["limits"]) == ["nvidia.com/gpu"]
    cpu = engine(objects({**free, "gpu": {"count": 0}}))["resources"]
    assert list(cpu) == ["requests"]


@pytest.mark.parametrize("release", ["vllm", "VLLM", "0model", "no", "y", "1e3", "a" * 53])
def test_names_are_names_whatever_the_release_is_called(release):
    if release != release.lower():
        with pytest.raises(helmtool.RefusedError):
            objects(name=release)
        return
    found = objects(name=release)
    for (kind, name), item in found.items():
        assert isinstance(name, str)
        assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name), (kind, name)
        assert name != "vllm"
        assert item["metadata"]["namespace"] == helmtool.NAMESPACE
        for value in item["metadata"]["labels"].values():
            assert isinstance(value, str)


def test_service_links_and_api_tokens_stay_out_of_pods(large):
    for (kind, name), item in large.items():
        spec = (
            item["spec"] if kind == "Pod" else item.get("spec", {}).get("template", {}).get("spec")
        )
        if not spec:
            continue
        assert spec["enableServiceLinks"] is False
        assert spec["automountServiceAccountToken"] is (name == "qwen-router")


def test_every_container_is_fenced_in(large):
    for (kind, _), item in large.items():
        spec = (
            item["spec"] if kind == "Pod" else item.get("spec", {}).get("template", {}).get("spec")
        )
        if not spec:
            continue
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            fence = container["securityContext"]
            assert fence["allowPrivilegeEscalation"] is False
            assert fence["privileged"] is False
            assert fence["capabilities"] == {"drop": ["ALL"]}
            assert fence["readOnlyRootFilesystem"] is (container["name"] != "engine")
            assert "memory" in container["resources"]["limits"]


def test_a_cpu_asks_for_no_card_and_writes_no_root():
    _, _, found = of_plan(gpu="cpu")
    container = engine(found)
    assert not [key for key in container["resources"]["limits"] if "gpu" in key]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["image"].startswith("deployctl/vllm-cpu:")
    assert "tolerations" not in pod(found)
    assert "nodeAffinity" not in pod(found)["affinity"]


def test_cards_are_whole_and_requests_equal_limits():
    _, _, found = of_plan(gpu="rtx4090", gpus=4, tensor_parallel_size=4)
    resources = engine(found)["resources"]
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == 4
    shm = next(v for v in pod(found)["volumes"] if v["name"] == "shm")
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "32Gi"}
    assert {"name": "NCCL_P2P_DISABLE", "value": "1"} in engine(found)["env"]


def test_a_taint_with_a_value_is_compared_with_it():
    taints = [{"key": "team", "value": "ml"}, {"key": "spot"}]
    said = pod(objects({"scheduling": {"tolerations": taints}}))["tolerations"]
    assert [each["operator"] for each in said] == ["Equal", "Exists"]
    plan, spec, profile = planned("awq", "l4", name="qwen")
    rendered = render_helm(plan, spec, profile, {"scheduling": {"tolerations": taints}})
    values = yaml.safe_load(rendered.files[VALUES_FILE])
    said = values["scheduling"]["tolerations"]
    assert [each["operator"] for each in said] == ["Equal", "Exists"]


def test_nodes_are_found_by_either_label(large):
    terms = pod(large)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert [t["matchExpressions"][0]["key"] for t in terms["nodeSelectorTerms"]] == [
        "nvidia.com/gpu.product",
        "cloud.google.com/gke-accelerator",
    ]
    assert pod(large)["runtimeClassName"] == "nvidia"


def test_replicas_keep_apart_unless_one_says_otherwise(large):
    for component, name in (("engine", "qwen"), ("router", "qwen-router")):
        apart = pod(large, name)["affinity"]["podAntiAffinity"]
        (wished,) = apart.values()
        terms = [each["podAffinityTerm"] for each in wished]
        assert [term["topologyKey"] for term in terms] == [
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        ]
        for term in terms:
            assert term["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == component
    assert "affinity" not in pod(objects({"scheduling": {"spread": False}}))
    own = {"podAntiAffinity": {"note": "own"}}
    assert pod(objects({"scheduling": {"affinity": own}}))["affinity"] == own


def test_a_pod_may_load_for_its_whole_budget():
    plan, _, found = of_plan()
    startup = engine(found)["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= plan.startup_budget_s
    spec = one(found, "Deployment")["spec"]
    assert spec["progressDeadlineSeconds"] > plan.startup_budget_s
    _, _, longer = of_plan(startup_timeout=5001)
    startup = engine(longer)["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 5001


def test_probes_outlast_saturation(small):
    container = engine(small)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["timeoutSeconds"] >= 15
    assert container["livenessProbe"]["failureThreshold"] >= 10
    assert container["livenessProbe"]["exec"]["command"][:4] == [
        "python3", "-I", "-S", "/opt/deployctl/alive.py",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("version", "drains", "quiet"),
    [("0.32.0", True, True), ("0.18.0", True, True), ("0.17.1", False, True),
     ("0.15.1", False, False), ("0.9.0.1", False, False)],
)  # fmt: skip
def test_flags_of_the_chart_are_those_that_the_version_has(version, drains, quiet):
    words = engine(objects({"engine": {"version": version}}))["args"]
    assert ("--shutdown-timeout" in words) is drains
    assert ("--disable-access-log-for-endpoints" in words) is quiet


def test_draining_fits_into_the_grace_period(small):
    container, spec = engine(small), pod(small)
    words = container["args"]
    timeout = int(words[words.index("--shutdown-timeout") + 1])
    least, most = map(int, container["lifecycle"]["preStop"]["exec"]["command"][-2:])
    assert least + timeout < spec["terminationGracePeriodSeconds"]
    assert most < spec["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe"])
def test_a_dead_engine_is_not_waited_for(small, probe):
    assert engine(small)[probe]["terminationGracePeriodSeconds"] <= 15


def test_engines_of_one_node_bind_their_threads_only_to_cores_of_their_own():
    def bind(**values):
        found = {e["name"]: e["value"] for e in engine(objects(values))["env"]}
        return found.get("VLLM_CPU_OMP_THREADS_BIND")

    assert bind(gpu={"count": 0}) == "nobind"
    assert bind(gpu={"count": 0}, resources={"exclusiveCores": True}) is None
    assert bind(gpu={"count": 1}) is None
    own = {"env": {"VLLM_CPU_OMP_THREADS_BIND": "0-3"}}
    assert bind(gpu={"count": 0}, engine=own) == "0-3"


def test_a_flag_that_the_user_gave_is_not_given_twice():
    words = engine(objects({"engine": {"args": ["--shutdown-timeout", "7"]}}))["args"]
    assert words.count("--shutdown-timeout") == 1


def test_scarce_cards_are_not_asked_for_twice(small):
    strategy = one(small, "Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 0, "maxUnavailable": 1}
    assert one(small, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_a_new_chart_does_not_restart_engines(small):
    labels = one(small, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert not [key for key in labels if "chart" in key or "version" in key]


@pytest.mark.parametrize(("replicas", "mode"), [(1, "ReadWriteOnce"), (2, "ReadWriteMany")])
def test_the_cache_can_be_mounted_by_every_replica(replicas, mode):
    found = objects({"replicas": replicas})
    ((_, name),) = [key for key in found if key[0] == "PersistentVolumeClaim"]
    assert found["PersistentVolumeClaim", name]["spec"]["accessModes"] == [mode]
    # The mode of a claim cannot be changed: another is another claim.
    assert name == ("qwen-cache" if replicas == 1 else "qwen-shared-cache")
    cache = next(v for v in pod(found)["volumes"] if v["name"] == "cache")
    assert cache["persistentVolumeClaim"] == {"claimName": name}


def test_every_place_that_is_written_has_a_volume(small):
    container = engine(small)
    mounts = {m["mountPath"]: m for m in container["volumeMounts"]}
    for path in ("/tmp", "/dev/shm", "/cache"):
        assert not mounts[path].get("readOnly")
    written = {"HOME", "HF_HOME", "VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"}
    for variable in container["env"]:
        if variable["name"] in written:
            assert variable["value"].startswith(("/tmp", "/cache"))


def test_secrets_are_files_from_secrets_and_nowhere_else(small, large):
    text = json.dumps([list(small.values()), list(large.values())])
    assert "hf_made_by_the_chart" not in text
    secret = one(large, "Secret", "qwen-hub-token")
    assert base64.b64decode(secret["data"]["hf_token"]).decode() == "hf_made_by_the_chart"
    assert not [key for key in small if key[0] == "Secret"]
    sources = next(v for v in pod(small)["volumes"] if v["name"] == "secrets")["projected"]
    assert sources["sources"][0]["secret"]["name"] == "qwen-api-key"
    for found in (small, large):
        assert not [e for e in engine(found)["env"] if "valueFrom" in e]


def test_every_selector_selects_the_pods_that_it_means(large):
    def labels(name):
        return one(large, "Deployment", name)["spec"]["template"]["metadata"]["labels"].items()

    def selects(selector, name):
        return selector.items() <= labels(name)

    assert selects(one(large, "Service")["spec"]["selector"], "qwen")
    assert not selects(one(large, "Service")["spec"]["selector"], "qwen-router")
    assert selects(one(large, "Service", "qwen-router")["spec"]["selector"], "qwen-router")
    for kind in ("PodMonitor", "PodDisruptionBudget"):
        assert selects(one(large, kind)["spec"]["selector"]["matchLabels"], "qwen")
    words = helmtool.pod(large, "qwen-router")["initContainers"][0]["args"]
    start = words.index("--selector") + 1
    pairs = dict(word.split("=") for word in words[start : start + 3])
    assert selects(pairs, "qwen")
    port = {p["name"] for p in engine(large)["ports"]}
    assert {e["port"] for e in one(large, "PodMonitor")["spec"]["podMetricsEndpoints"]} <= port
