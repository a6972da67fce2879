"""Objects that requests pass or that follow them: router, network policies, autoscaling."""

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from chart import helmtool
from chart.helmtool import maximal, objects, one
from deployctl.metrics import names

pytestmark = pytest.mark.helm


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


@pytest.mark.parametrize(("status", "lives"), [(200, True), (503, False), (None, False)])
def test_a_router_is_asked_from_within_for_it_runs_before_the_proxys_image_is_there(status, lives):
    (router,) = helmtool.pod(objects({"router": {"enabled": True}}), "qwen-router")[
        "initContainers"
    ]
    assert "startupProbe" not in router, "the proxy would wait for it"
    words = router["livenessProbe"]["exec"]["command"]
    asked = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        if status is None:
            server.server_close()
        else:
            threading.Thread(target=server.handle_request, daemon=True).start()
        port = router["args"][router["args"].index("--port") + 1]
        code = words[-1].replace(port, str(server.server_port))
        done = subprocess.run([sys.executable, *words[1:-1], code], capture_output=True)
    assert (done.returncode == 0) == lives
    assert asked == (["/liveness"] if status else [])


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


@pytest.mark.parametrize(
    ("group", "mine", "other"),
    [
        (1, "qwen-6d4cf56db6-x2x8k", "qwen-router-6d4cf56db6-x2x8k"),
        (1, "qwen-6d4cf56db6-x2x8k", "qwen-redis-0"),
        (1, "qwen-6d4cf56db6-x2x8k", "qwen-exporter-x2x8k"),
        (2, "qwen-group-0", "qwen-group-0-1"),
    ],
)
def test_rules_read_the_series_of_our_own_pods(group, mine, other):
    expression = 'vllm:num_requests_running{$service_series} > 1 and up{job="x"}'
    labels = {"namespace": "$service_namespace"}
    variables = "{{ $namespace := $labels.namespace }}{{ $series := 1 }}"  # are the rule's own
    told = {"summary": variables + "{{ $value }} <&> in {{ $namespace }}"}
    rules = [{"alert": "A", "expr": expression, "labels": labels, "annotations": told}]
    values = {"group": {"size": group}, "alerts": {"groups": [{"name": "g", "rules": rules}]}}
    (found,) = one(objects(values), "PrometheusRule")["spec"]["groups"]
    (rule,) = found["rules"]
    assert rule["annotations"] == rules[0]["annotations"]
    assert rule["labels"] == {"namespace": helmtool.NAMESPACE}
    (pattern,) = re.findall(r'pod=~"([^"]+)"', rule["expr"])
    series = f'namespace="{helmtool.NAMESPACE}",pod=~"{pattern}"'
    assert rule["expr"] == expression.replace("$service_series", series)
    assert re.fullmatch(pattern, mine)
    assert not re.fullmatch(pattern, other)


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
