"""Real mistakes, one at a time in a good set of manifests: each is caught, under its own code.

Most are from issues of charts and operators in the field; the comment says what happened there.
`also` are codes that the same mistake breaks as well, by its nature.
"""

from typing import NamedTuple

import pytest


class Mistake(NamedTuple):
    code: str
    name: str
    spoil: object
    also: frozenset = frozenset()


MISTAKES = []


def mistake(code, *also):
    def register(function):
        MISTAKES.append(Mistake(code, function.__name__, function, frozenset(also)))
        return function

    return register


# Starting


@mistake("startup-budget")
def startup_probe_of_five_minutes(m):  # kthena: 300 s killed pods that still loaded
    m.engine["startupProbe"]["failureThreshold"] = 30


@mistake("startup-budget", "startup-probe-missing")
def liveness_probe_alone(m):  # kserve: no start-up probe, liveness after 100 s
    del m.engine["startupProbe"]


@mistake("liveness-timeout")
def liveness_timeout_left_out(m):  # llm-d: the default of 1 s dropped saturated pods
    del m.engine["livenessProbe"]["timeoutSeconds"]


@mistake("liveness-timeout")
def liveness_gives_up_in_half_a_minute(m):
    m.engine["livenessProbe"]["failureThreshold"] = 3


@mistake("readiness-timeout")
def readiness_timeout_of_one_second(m):
    m.engine["readinessProbe"]["timeoutSeconds"] = 1


@mistake("readiness-probe-missing")
def no_readiness_probe(m):  # production-stack: start-up and liveness only
    del m.engine["readinessProbe"]


@mistake("liveness-probe-missing")
def no_liveness_probe(m):
    del m.engine["livenessProbe"]


@mistake("probe-needs-key")
def probe_of_a_path_that_wants_the_key(m):
    m.engine["readinessProbe"]["httpGet"]["path"] = "/v1/models"


@mistake("rollout-deadline")
def deadline_shorter_than_a_start(m):
    m.workload["progressDeadlineSeconds"] = 600


# Wiring


@mistake("service-named-vllm")
def service_called_vllm(m):  # vllm: VLLM_PORT=tcp://… kills the engine
    m["Service"]["metadata"]["name"] = "vllm"
    m["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = "vllm"


@mistake("service-links")
def service_links_left_on(m):
    del m.pod["enableServiceLinks"]


@mistake("selector")
def selector_of_another_name(m):
    m.workload["selector"]["matchLabels"]["app.kubernetes.io/name"] = "chart"


@mistake("service-selects-nothing")
def service_selector_of_another_name(m):
    m["Service"]["spec"]["selector"] = {"app": "chat"}


@mistake("service-port")
def service_sends_to_another_port(m):
    m["Service"]["spec"]["ports"][0]["targetPort"] = 8080


@mistake("service-port")
def service_names_no_port(m):
    m["Service"]["spec"]["ports"][0]["targetPort"] = "api"


@mistake("port-mismatch")
def engine_listens_elsewhere(m):
    m.flag("port", 8080)


# Storage


@mistake("pvc-access-mode")
def one_writer_for_several_replicas(m):  # production-stack: the second replica is stuck
    m["PersistentVolumeClaim"]["spec"]["accessModes"] = ["ReadWriteOnce"]


@mistake("pvc-rolling-update", "rollout-surge")
def one_writer_and_a_surge(m):
    m["PersistentVolumeClaim"]["spec"]["accessModes"] = ["ReadWriteOnce"]
    m.drop("ScaledObject")
    m.workload["replicas"] = 1
    del m.workload["strategy"]


@mistake("home-unwritable")
def no_home_for_a_user_without_a_name(m):  # llm-d, vllm: /.config, /.triton, /.cache
    m.variable("HOME")


@mistake("home-unwritable")
def home_on_the_read_only_root(m):
    m.variable("HOME", "/home/vllm")


@mistake("cache-unwritable")
def cache_on_the_read_only_root(m):
    m.variable("TRITON_CACHE_DIR", "/opt/triton")


@mistake("tmp-unwritable", "home-unwritable")
def read_only_root_without_tmp(m):
    m.engine["volumeMounts"] = [v for v in m.engine["volumeMounts"] if v["name"] != "tmp"]


@mistake("model-not-kept")
def model_downloaded_at_every_start(m):
    m.variable("HF_HOME", "/tmp/hub")


@mistake("compile-cache-not-kept")
def compiled_at_every_start(m):  # 166 s of an 11 min cold start
    m.variable("VLLM_CACHE_ROOT", "/tmp/vllm")


# Cards


@mistake("gpu-fraction")
def half_a_card(m):  # production-stack: fractions become none in silence
    for key in ("requests", "limits"):
        m.engine["resources"][key]["nvidia.com/gpu"] = "0.5"
    m.flag("tensor-parallel-size")


@mistake("gpu-limits")
def card_requested_and_not_limited(m):
    del m.engine["resources"]["limits"]["nvidia.com/gpu"]


@mistake("gpu-missing")
def no_card_at_all(m):
    del m.engine["resources"]["limits"]["nvidia.com/gpu"]
    del m.engine["resources"]["requests"]["nvidia.com/gpu"]


@mistake("gpu-count")
def more_ranks_than_cards(m):
    m.flag("tensor-parallel-size", 4)


@mistake("gpu-count")
def cards_that_idle(m):
    m.flag("tensor-parallel-size")


@mistake("gpu-visible-devices")
def cards_taken_behind_the_scheduler(m):
    m.variable("NVIDIA_VISIBLE_DEVICES", "all")


@mistake("shm")
def no_shared_memory_for_two_ranks(m):  # vllm: NCCL fails on 64 MB
    m.engine["volumeMounts"] = [v for v in m.engine["volumeMounts"] if v["name"] != "shm"]


@mistake("shm")
def shared_memory_on_a_disk(m):
    m.pod["volumes"][-1]["emptyDir"] = {}


@mistake("shm")
def shared_memory_of_64_megabytes(m):
    m.pod["volumes"][-1]["emptyDir"]["sizeLimit"] = "64Mi"


@mistake("runtime-class")
def runtime_class_not_named(m):  # gpustack: the pod sees no card
    del m.pod["runtimeClassName"]


@mistake("runtime-class")
def runtime_class_of_another_name(m):
    m.pod["runtimeClassName"] = "nvidia-legacy"


# Updates


@mistake("rollout-surge")
def surge_of_a_whole_set_of_cards(m):  # production-stack: maxSurge 100%
    m.workload["strategy"]["rollingUpdate"] = {"maxSurge": "100%", "maxUnavailable": 0}


@mistake("pre-stop-missing")
def no_drain(m):  # production-stack, vllm: requests dropped on rollout
    del m.engine["lifecycle"]


@mistake("grace-period", "shutdown-timeout")
def grace_period_left_out(m):
    del m.pod["terminationGracePeriodSeconds"]


@mistake("shutdown-timeout")
def engine_shutdown_longer_than_the_grace(m):
    m.flag("shutdown-timeout", 70)


@mistake("pdb-blocks-drain")
def budget_that_allows_nothing(m):
    m["PodDisruptionBudget"]["spec"]["maxUnavailable"] = 0


@mistake("pdb-selects-nothing")
def budget_of_other_pods(m):
    m["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] = {"app": "chat"}


@mistake("memory-request")
def no_memory_asked_for(m):
    m.engine["resources"] = {"limits": {"nvidia.com/gpu": 2}}


# The engine


@mistake("image-not-pinned", "engine-version-unknown")
def latest(m):
    m.engine["image"] = "vllm/vllm-openai:latest"


@mistake("image-not-pinned", "engine-version-unknown")
def no_tag(m):
    m.engine["image"] = "vllm/vllm-openai"


@mistake("flag-removed")
def flag_that_went_with_the_image(m):  # kserve, dynamo: crash after an image bump
    m.flag("swap-space", 4)


@mistake("flag-unknown")
def flag_that_never_was(m):
    m.flag("max-model-length", 8192)


@mistake("flag-value")
def flag_without_sense(m):
    m.flag("kv-cache-dtype", "fp7")


@mistake("flag-value")
def number_that_is_none(m):
    m.flag("max-model-len", "eight thousand")


@mistake("slow-kernel")
def slow_kernel_forced(m):  # vllm: 23 against 123 tok/s
    m.flag("quantization", "awq")


@mistake("utilization-high")
def utilization_of_098(m):  # auto_tune: ran out of memory under load
    m.flag("gpu-memory-utilization", 0.98)


@mistake("remote-code", "model-not-pinned")
def code_from_the_hub(m):
    m.args.append("--trust-remote-code")
    m.flag("revision")


@mistake("model-not-pinned")
def branch_of_the_hub(m):
    m.flag("revision")


# Secrets and security


@mistake("secret-inline")
def token_in_the_environment(m):
    m.variable("HF_TOKEN", "hf_abcdefghijklmnopqrstuvwxyz012345")


@mistake("secret-inline")
def key_in_the_environment(m):
    m.variable("VLLM_API_KEY", "correct-horse-battery")


@mistake("secret-in-args")
def key_on_the_command_line(m):
    m.flag("api-key", "correct-horse-battery")


@mistake("secret-in-manifest")
def secret_beside_the_manifests(m):
    m.add(
        "{apiVersion: v1, kind: Secret, metadata: {name: chat-key, namespace: llm}, "
        "stringData: {api_key: correct-horse}}"
    )


@mistake("run-as-root")
def root(m):
    m.pod["securityContext"] = {"seccompProfile": {"type": "RuntimeDefault"}}


@mistake("privilege-escalation")
def escalation(m):
    del m.engine["securityContext"]["allowPrivilegeEscalation"]


@mistake("capabilities")
def capabilities_kept(m):
    del m.engine["securityContext"]["capabilities"]


@mistake("seccomp")
def no_seccomp(m):
    del m.pod["securityContext"]["seccompProfile"]


@mistake("privileged")
def privileged(m):
    m.engine["securityContext"]["privileged"] = True


@mistake("host-namespaces")
def host_ipc(m):
    m.pod["hostIPC"] = True


@mistake("service-account-token")
def token_for_the_cluster(m):
    del m.pod["automountServiceAccountToken"]
    del m["ServiceAccount"]["automountServiceAccountToken"]


@mistake("exposed-without-key")
def ingress_without_a_key(m):
    m.variable("VLLM_API_KEY")


@mistake("network-policy-missing")
def no_network_policy(m):
    m.drop("NetworkPolicy")


@mistake("ingress-timeout")
def proxy_of_sixty_seconds(m):
    del m["Ingress"]["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"]


# Monitoring and scaling


@mistake("monitor-selects-nothing")
def monitor_of_other_pods(m):
    m["PodMonitor"]["spec"]["selector"]["matchLabels"] = {"app": "chat"}


@mistake("monitor-port")
def monitor_of_another_port(m):
    m["PodMonitor"]["spec"]["podMetricsEndpoints"][0]["port"] = "metrics"


@mistake("metric-unknown")
def scaling_on_a_renamed_metric(m):  # aibrix, production-stack: gone with 0.12
    m.query('sum(vllm:gpu_cache_usage_perc{model_name="chat"})')


@mistake("metric-unknown")
def alert_on_a_counter_without_total(m):  # llm-d: never fires
    rules = m["PrometheusRule"]["spec"]["groups"][0]["rules"]
    rules[1]["expr"] = 'rate(vllm:num_preemptions{model_name="chat"}[5m]) > 1'


@mistake("metric-no-sum")
def scaling_without_sum(m):  # production-stack: one value a pod
    m.query('vllm:num_requests_waiting{model_name="chat"}')


@mistake("metric-label")
def scaling_on_the_wrong_label(m):  # production-stack: model for model_name
    m.query('sum(vllm:num_requests_waiting{model="chat"})')


@mistake("metric-label")
def scaling_on_another_name(m):
    m.query('sum(vllm:num_requests_waiting{model_name="Qwen/Qwen2.5-72B-Instruct-AWQ"})')


@mistake("autoscaler-target")
def scaling_of_nothing(m):
    m["ScaledObject"]["spec"]["scaleTargetRef"]["name"] = "chat-vllm"


@mistake("autoscaler-fights-replicas")
def replicas_beside_an_autoscaler(m):
    m.workload["replicas"] = 2


@mistake("autoscaler-bounds")
def more_at_least_than_at_most(m):
    m["ScaledObject"]["spec"]["minReplicaCount"] = 9


@mistake("autoscaler-signal")
def scaling_on_the_cpu(m):
    m.drop("ScaledObject")
    m.add(
        "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, "
        "metadata: {name: chat, namespace: llm}, spec: {maxReplicas: 4, "
        "scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: chat}, metrics: "
        "[{type: Resource, resource: {name: cpu, target: "
        "{type: Utilization, averageUtilization: 80}}}]}}"
    )


# Objects


@mistake("schema")
def misspelt_field(m):
    m.engine["imagePullPolicies"] = "Always"


@mistake("schema")
def text_for_a_number(m):
    m.pod["terminationGracePeriodSeconds"] = "75"


@mistake("api-unknown")
def api_that_is_gone(m):
    m["PodDisruptionBudget"]["apiVersion"] = "policy/v1beta1"


@mistake("quantity")
def gigabytes(m):
    m.engine["resources"]["requests"]["memory"] = "48GB"


@mistake("quantity")
def request_above_the_limit(m):
    m.engine["resources"]["requests"]["memory"] = "200Gi"


@mistake("name")
def name_with_a_capital(m):
    m["PodDisruptionBudget"]["metadata"]["name"] = "Chat_PDB"


@mistake("name")
def service_that_begins_with_a_digit(m):
    m["Service"]["metadata"]["name"] = "7b-chat"
    m["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = "7b-chat"


@mistake("label")
def model_id_in_a_label(m):
    m["Deployment"]["metadata"]["labels"]["model"] = "Qwen/Qwen2.5-72B-Instruct-AWQ"


@mistake("duplicate-object")
def object_twice(m):
    m.add("{apiVersion: v1, kind: ServiceAccount, metadata: {name: chat, namespace: llm}}")


@mistake("port-number")
def port_that_is_none(m):
    m["Service"]["spec"]["ports"][0]["port"] = 80000


@mistake("restart-policy")
def engine_pod_that_restarts_on_failure(m):  # vllm: dies and exits with 0
    pod = {"restartPolicy": "OnFailure", **m.pod}
    m.add("{apiVersion: v1, kind: Pod, metadata: {name: solo, namespace: llm}}")
    m.documents[-1]["spec"] = pod
    m.documents[-1]["metadata"] |= m.workload["template"]["metadata"]


def test_the_good_set_is_good(spoilt, found):
    assert found(spoilt.text) == []


@pytest.mark.parametrize("given", MISTAKES, ids=lambda m: m.name)
def test_a_mistake_is_caught_under_its_own_code(given, spoilt, codes):
    given.spoil(spoilt)
    caught = codes(spoilt.text)
    assert given.code in caught
    assert caught <= {given.code} | given.also


def test_there_are_more_than_thirty():
    assert len({m.code for m in MISTAKES}) > 50
