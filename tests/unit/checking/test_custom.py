"""Custom resources that a service comes with: their fields are held against their operators'."""

import pytest

MONITOR = """apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {name: a}
spec:
  selector: {matchLabels: {a: b}}
  podMetricsEndpoints: [{port: http}]
"""
SCALER = """apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: a}
spec:
  scaleTargetRef: {name: x}
  minReplicaCount: 1
  triggers: [{type: cpu, metadata: {value: "60"}}]
"""
RULES = """apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: a}
spec: {groups: [{name: a, rules: [{alert: Down, expr: up == 0, for: 5m}]}]}
"""
ROUTE = """apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: a}
spec:
  parentRefs: [{name: gateway}]
  rules:
    - matches: [{path: {type: PathPrefix, value: /v1}}]
      timeouts: {request: 0s}
      backendRefs: [{name: a, port: 8000}]
"""
GROUP = """apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
metadata: {name: a}
spec:
  leaderWorkerTemplate:
    size: 2
    restartPolicy: RecreateGroupOnPodRestart
    workerTemplate: {spec: {containers: [{name: a, image: "a:1"}]}}
"""
SERVICES = MONITOR.replace("PodMonitor", "ServiceMonitor").replace("podMetricsE", "e")


def schema(findings):
    return [(f.where.partition(": ")[2], f.message, f.fix) for f in findings if f.code == "schema"]


@pytest.mark.parametrize("good", [MONITOR, SCALER, RULES, ROUTE, GROUP, SERVICES])
def test_what_is_right_is_left_alone(good, found):
    assert {"schema", "api-unknown", "no-schema"}.isdisjoint(f.code for f in found(good))


@pytest.mark.parametrize(
    ("text", "old", "new", "where", "fix"),
    [
        (MONITOR, "podMetricsE", "podMetricE", "spec", "did you mean podMetricsEndpoints?"),
        (MONITOR, "{port:", "{prot:", "spec.podMetricsEndpoints[0]", "did you mean port?"),
        (MONITOR, "{name: a}", "{name: a, lables: {}}", "metadata", "did you mean labels?"),
        (SERVICES, "endpoints:", "endpoint:", "spec", "did you mean endpoints?"),
        (SCALER, "minReplicaCount", "minReplicas", "spec", "did you mean minReplicaCount?"),
        (SCALER, '"60"', "60", "spec.triggers[0].metadata.value", "write a string"),
        (SCALER, "Count: 1", "Count: -1", "spec.minReplicaCount", "write at least 0"),
        (SCALER, "{type: cpu, ", "{", "spec.triggers[0]", "write type: …"),
        (RULES, "alert: Down, expr", "alert: Down, exp", "spec.groups[0].rules[0]",
         "did you mean expr?"),
        (ROUTE, "timeouts", "timeout", "spec.rules[0]", "did you mean timeouts?"),
        (ROUTE, "PathPrefix", "Prefix", "spec.rules[0].matches[0].path.type",
         "write one of: Exact, PathPrefix, RegularExpression"),
        (ROUTE, "port: 8000", "port: http", "spec.rules[0].backendRefs[0].port",
         "write an integer"),
        (GROUP, "size:", "siez:", "spec.leaderWorkerTemplate", "did you mean size?"),
        (GROUP, "OnPodRestart", "", "spec.leaderWorkerTemplate.restartPolicy",
         "write one of: Default, RecreateGroupOnPodRestart, None"),
        (GROUP, "workerTemplate: {", "workTemplate: {", "spec.leaderWorkerTemplate",
         "write workerTemplate: …"),
        (GROUP, "image:", "imgae:",
         "spec.leaderWorkerTemplate.workerTemplate.spec.containers[0]", "did you mean image?"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_the_nearest(text, old, new, where, fix, found):
    assert old in text
    told = schema(found(text.replace(old, new)))
    assert (where, fix) in {(w, f) for w, _, f in told}


def test_a_release_that_the_operator_does_not_have(found):
    told = found(SCALER.replace("v1alpha1", "v1"))
    assert [(f.code, f.fix) for f in told if f.code == "api-unknown"] == [
        ("api-unknown", "write apiVersion: keda.sh/v1alpha1")
    ]


def test_empty_values_are_dropped_by_the_server(found):
    assert not schema(found(SCALER.replace("minReplicaCount: 1", "minReplicaCount:")))


def test_a_status_is_the_controller_s(found):
    assert not schema(found(SCALER + "status: {any: [thing]}\n"))


@pytest.mark.parametrize("kind", ["../../x", "a/b", "", "Thing\n"])
def test_a_hostile_kind_reads_no_file(kind, found):
    assert found(f"apiVersion: keda.sh/v1\nkind: {kind!r}\nmetadata: {{name: a}}\n")
