"""Pods that an operator makes of a custom resource: the same rules, where they are."""

import pytest

RAY = """apiVersion: ray.io/v1
kind: RayCluster
metadata: {name: ray}
spec:
  headGroupSpec:
    rayStartParams: {}
    template:
      spec:
        containers:
          - name: head
            image: vllm/vllm-openai:v0.32.0
            command: [vllm, serve, m/x]
            args: [--swap-space, "4"]
            resources: {limits: {nvidia.com/gpu: "0.5"}}
  workerGroupSpecs:
    - groupName: w
      replicas: 2
      template:
        spec:
          containers:
            - name: worker
              image: vllm/vllm-openai:v0.32.0
              securityContext: {privileged: true}
              resources: {limits: {nvidia.com/gpu: 1, memory: 8GB}}
          volumes: [{name: m, persistentVolumeClaim: {claimName: models}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: models}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 5Gi}}}
"""
LLM = """apiVersion: serving.kserve.io/v1alpha1
kind: LLMInferenceService
metadata: {name: llm}
spec:
  model: {uri: "hf://m/x", name: q}
  replicas: 2
  template:
    containers:
      - name: main
        image: vllm/vllm-openai:v0.32.0
        command: [vllm, serve, /mnt/models, --no-such-flag]
  prefill:
    template:
      containers: [{name: main, image: "vllm/vllm-openai:latest"}]
"""
ISVC = """apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: isvc}
spec:
  predictor:
    minReplicas: 1
    containers:
      - name: kserve-container
        image: vllm/vllm-openai:v0.32.0
        args: [--model, m/x, --gpu-memory-utilization, "1.5"]
        livenessProbe: {httpGet: {path: /health, port: 8000}, timeoutSeconds: 1}
"""
WORKERS = """apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
metadata: {name: lws}
spec:
  leaderWorkerTemplate:
    size: 2
    workerTemplate:
      spec:
        containers:
          - {name: e, image: "vllm/vllm-openai:v0.32.0", args: [--model, m/x, --swap-space=4]}
"""


@pytest.mark.parametrize(
    ("text", "code", "where"),
    [
        (RAY, "flag-removed", "spec.headGroupSpec.template.spec.containers[0].args[0]"),
        (RAY, "gpu-fraction", "spec.headGroupSpec.template.spec.containers[0].resources.limits"),
        (RAY, "privileged", "spec.workerGroupSpecs[0].template.spec.containers[0]"),
        (RAY, "quantity", "spec.workerGroupSpecs[0].template.spec.containers[0].resources"),
        (RAY, "pvc-access-mode", "spec.accessModes"),
        (LLM, "flag-unknown", "spec.template.containers[0].command[3]"),
        (LLM, "image-not-pinned", "spec.prefill.template.containers[0].image"),
        (ISVC, "utilization-high", "spec.predictor.containers[0].args[2]"),
        (ISVC, "liveness-timeout", "spec.predictor.containers[0].livenessProbe"),
        (WORKERS, "flag-removed", "spec.leaderWorkerTemplate.workerTemplate.spec.containers[0]"),
    ],
)
def test_a_pod_is_found_wherever_it_is(text, code, where, found):
    told = [f.where.partition(": ")[2] for f in found(text) if f.code == code]
    assert [w for w in told if w.startswith(where)]


@pytest.mark.parametrize("text", [RAY, LLM, ISVC])
def test_what_the_operator_adds_is_not_missed(text, codes):
    added = ("startup-probe-missing", "readiness-probe-missing", "liveness-probe-missing")
    assert codes(text).isdisjoint(added)


def test_a_worker_that_ray_starts_is_no_engine(found):
    idle = RAY.replace("command: [vllm, serve, m/x]", "").replace("args:", "x:")
    assert not [f for f in found(idle) if f.code in ("flag-removed", "service-links")]


def test_a_template_is_held_against_the_pod_s_schema(found):
    told = found(RAY.replace("privileged: true", "privilegd: true"))
    assert [(f.where, f.fix) for f in told if f.code == "schema"] == [
        (
            "RayCluster/ray: spec.workerGroupSpecs[0].template.spec.containers[0].securityContext",
            "did you mean privileged?",
        )
    ]


def test_nesting_without_end_ends(found):
    deep = "{a: " * 60 + "{containers: [{name: e}]}" + "}" * 60
    text = f"apiVersion: example.org/v1\nkind: Thing\nmetadata: {{name: a}}\nspec: {deep}\n"
    assert {f.code for f in found(text)} <= {"no-schema", "too-large"}
