"""Mistakes of the engine, its secrets, its fence, its monitoring, and of objects as such."""

from mistakes.record import mistake

# The engine


@mistake("image-not-pinned", "engine-version-unknown")
def latest(m):
    m.engine["image"] = "vllm/vllm-openai:latest"


@mistake("image-not-pinned", "engine-version-unknown")
def no_tag(m):
    m.engine["image"] = "vllm/vllm-openai"


@mistake("image-by-tag")
def tag_alone(m):
    m.engine["image"] = "vllm/vllm-openai:v0.32.0"


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


@mistake("exposed-without-door")
def ingress_of_more_than_the_api(m):  # /invocations answers whole completions, /metrics everything
    m["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["path"] = "/"


@mistake("exposed-without-door")
def load_balancer_with_the_engine_s_own_key(m):
    m["Service"]["spec"]["type"] = "LoadBalancer"


@mistake("exposed-without-key")
def door_that_asks_for_no_key(m):
    m.flag("middleware", "deployctl_door.vllm.Middleware")
    m.drop("PodMonitor")


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


@mistake("monitor-unauthorized")
def monitor_without_the_operator_s_token(m):
    m.flag("middleware", "deployctl_door.vllm.Middleware")
    m.variable("API_KEY_REQUIRED", "1")


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
