"""Mistakes of starting, wiring, storage, cards and updates."""

from mistakes.record import mistake

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
def a_budget_without_a_selector(m):  # production-stack: one for the release, of no pods
    del m["PodDisruptionBudget"]["spec"]["selector"]


@mistake("pdb-selects-nothing")
def budget_of_other_pods(m):
    m["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] = {"app": "chat"}


@mistake("memory-request")
def no_memory_asked_for(m):
    m.engine["resources"] = {"limits": {"nvidia.com/gpu": 2}}
