"""What is in the objects: each of these has hurt somebody who served with vLLM on Kubernetes."""

import base64
import json
import re

import pytest
import yaml

from chart import helmtool
from chart.helmtool import engine, maximal, objects, one, planned, pod
from deployctl.metrics import names
from deployctl.render import render_compose, render_process
from deployctl.render.helm import VALUES_FILE, render_helm
from deployctl.render.process import COMMAND_FILE

pytestmark = pytest.mark.helm


@pytest.fixture(scope="module")
def small():
    return objects()


@pytest.fixture(scope="module")
def large():
    return objects(files=[helmtool.MAXIMAL])


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
    assert "affinity" not in pod(found)


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


def test_what_clients_may_ask_reaches_the_router_and_nothing_else():
    user = ["POST /v1/completions", "GET /v1/responses/{response_id}"]
    found = objects({"router": {"enabled": True}, "door": {"routes": {"user": user}}})
    spec = helmtool.pod(found, "qwen-router")
    (router,), (proxy,) = spec["initContainers"], spec["containers"]
    assert router["restartPolicy"] == "Always"  # a sidecar: it ends after the proxy
    words = router["args"]
    for flag in ("--host", "--prometheus-host"):
        assert words[words.index(flag) + 1] == "127.0.0.1"
    ports = {port["name"]: port["containerPort"] for port in proxy["ports"]}
    assert not ports.keys() ^ {"http", "metrics"}
    (volume,) = [v["configMap"]["name"] for v in spec["volumes"] if "configMap" in v]
    lines = one(found, "ConfigMap", volume)["data"]["haproxy.cfg"].splitlines()
    assert [line.split(" if ")[1] for line in lines if "use_backend router" in line] == [
        *(f"{{ method GET }} {{ path /{name} }}" for name in ("health", "liveness", "readiness")),
        "{ method POST } { path /v1/completions }",
        "{ method GET } { path_reg ^/v1/responses/[^/]+$ }",
    ]
    server = "    server router 127.0.0.1:" + words[words.index("--port") + 1]
    assert server in lines
    assert f"    bind :{ports['http']}" in lines


def test_the_network_is_closed_but_for_clients_and_prometheus(large, small):
    closed = one(large, "NetworkPolicy")["spec"]
    peers = [rule["from"] for rule in closed["ingress"]]
    assert [list(p[0]) for p in peers] == [["podSelector"], ["namespaceSelector", "podSelector"]]
    assert closed["egress"] == []  # the Job downloads
    assert one(large, "NetworkPolicy", "qwen-download")["spec"]["egress"]
    four, six = one(small, "NetworkPolicy")["spec"]["egress"][1]["to"]
    assert "169.254.0.0/16" in four["ipBlock"]["except"]
    assert six["ipBlock"]["except"] == ["fc00::/7", "fe80::/10"]
    clients = one(large, "NetworkPolicy", "qwen-router")["spec"]["ingress"][0]["from"]
    assert {"app": "gateway"} in [p["podSelector"]["matchLabels"] for p in clients]


def test_the_autoscaler_reads_metrics_that_exist_summed_over_our_pods(large):
    triggers = one(large, "ScaledObject")["spec"]["triggers"]
    assert [t["metadata"]["threshold"] for t in triggers] == ["16", "5", "80"]
    queries = [t["metadata"]["query"] for t in triggers]
    metrics = (names.RUNNING[0], names.WAITING[0], names.KV_CACHE_USAGE[0])
    for query, metric in zip(queries, metrics, strict=True):
        assert query.removeprefix("100 * ").startswith(f"sum({metric}{{")
        assert f'namespace="{helmtool.NAMESPACE}"' in query
        (pattern,) = re.findall(r'pod=~"([^"]+)"', query)
        assert re.fullmatch(pattern, "qwen-6d4cf56db6-x2x8k")
        assert not re.fullmatch(pattern, "qwen-router-6d4cf56db6-x2x8k")
    assert "replicas" not in one(large, "Deployment")["spec"]


@pytest.mark.parametrize(("version", "index"), [("0.32.0", 0), ("0.9.2", 0), ("0.9.1", 1)])
def test_the_autoscaler_reads_what_the_version_exports(version, index):
    values = maximal()
    values["engine"]["version"] = version
    triggers = objects(values)["ScaledObject", "qwen"]["spec"]["triggers"]
    assert names.KV_CACHE_USAGE[index] in triggers[2]["metadata"]["query"]


def test_the_hpa_scales_the_same(small):
    values = {"autoscaling": {"kind": "hpa", "maxReplicas": 3}}
    found = objects(values)
    spec = one(found, "HorizontalPodAutoscaler")["spec"]
    assert [m["pods"]["metric"]["name"] for m in spec["metrics"]] == [
        names.RUNNING[0].replace(":", "_"),
        names.WAITING[0].replace(":", "_"),
    ]
    assert ("PersistentVolumeClaim", "qwen-shared-cache") in found
    values["autoscaling"]["cpuPercent"] = 70
    found = objects({**values, "gpu": {"count": 0}})
    (metric,) = one(found, "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}


def test_streams_are_not_cut(large):
    notes = one(large, "Ingress")["metadata"]["annotations"]
    assert int(notes["nginx.ingress.kubernetes.io/proxy-read-timeout"]) >= 3600
    assert notes["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"
    rule = one(large, "HTTPRoute")["spec"]["rules"][0]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    for kind in ("Ingress", "HTTPRoute"):
        assert "/metrics" not in json.dumps(one(large, kind))
        assert "qwen-router" in json.dumps(one(large, kind))
