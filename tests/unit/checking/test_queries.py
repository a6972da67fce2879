"""Queries of dashboards, rule files and autoscalers, against what a release of vLLM exports."""

import json

import pytest
import yaml

BUCKETS = "vllm:time_to_first_token_seconds_bucket"


def dashboard(*queries, unit=None, **more):
    """A dashboard of one panel, as Grafana exports it."""
    defaults = {"unit": unit} if unit else {}
    panel = {
        "type": "timeseries",
        "datasource": {"type": "prometheus", "uid": "${ds}"},
        "fieldConfig": {"defaults": defaults},
        "targets": [{"expr": query, "refId": "A"} for query in queries],
    }
    return {"title": "Engine", "schemaVersion": 39, "panels": [panel], **more}


def rules(*queries, record=None):
    listed = [{"alert": "A", "expr": query} for query in queries]
    if record:
        listed.append({"record": record, "expr": "sum(vllm:num_requests_running)"})
    return {"groups": [{"name": "g", "rules": listed}]}


@pytest.fixture
def told(found):
    """`told(document)`: (code, place, message, fix) of each finding."""

    def check(document, **options):
        text = document if isinstance(document, str) else json.dumps(document, indent=1)
        findings = found(text, file="d.json", **options)
        return [(f.code, f.where, f.message, f.fix) for f in findings]

    return check


def one(told, query, **options):
    """The codes of one query in a panel."""
    return {code for code, *_ in told(dashboard(query), **options)}


GOOD = [
    "sum(rate(vllm:generation_tokens_total[5m]))",
    "avg by (model_name, pod) (vllm:kv_cache_usage_perc) > 0.9",
    "100 * vllm:kv_cache_usage_perc > 90",
    f"histogram_quantile(0.99, sum by (le) (rate({BUCKETS}[$__rate_interval])))",
    f"histogram_quantile(0.99, topk(5, sum without (pod) (rate({BUCKETS}[5m]))))",
    f'rate({BUCKETS}{{le="1.0"}}[5m]) / ignoring (le) rate({BUCKETS}{{le="+Inf"}}[5m])',
    'sum by (finished_reason) (increase(vllm:request_success_total{finished_reason="stop"}[1h]))',
    "absent(vllm:generation_tokens_total)",
    "changes(vllm:generation_tokens_total[5m]) == 0 and vllm:num_requests_running > 0",
    "deriv(vllm:num_requests_waiting[10m])",
    "time() - vllm:num_preemptions_created",
    'sum by (key) (rate(deployctl_door_refusals_total{reason="rate"}[5m]))',
    "vllm:own:recorded_elsewhere > 90",
    "vllm:healthy_pods_total",
    "rate(vllm:${metric}_total[5m])",
    "node_memory_Active_bytes{model=\"x\"} > 90",
    "count(vllm:kv_cache_usage_perc > 0.9) > 2",
    "sum(vllm:kv_cache_usage_perc) > 3",
    "vllm:kv_cache_usage_perc * vllm:num_requests_running > 90",
    "{__name__=~\"vllm:num_requests_(running|waiting)\"}",
    "{__name__=~\"vllm:kv_cache.*|node_.*\"}",
    "{__name__=~\"vllm:num_requests_(running\"}",
    "vllm:num_requests_running{a=\"vllm:gpu_cache_usage_perc\"} # vllm:num_requests_swapped",
]  # fmt: skip


@pytest.mark.parametrize("query", GOOD)
def test_a_query_that_reads_is_not_named(query, told):
    assert told(dashboard(query)) == []
    assert told(rules(query.replace("$__rate_interval", "5m"))) == []


BAD = [
    ("vllm:gpu_cache_usage_perc", "metric-unknown", "removed in 0.12.0", ":kv_cache_usage_perc"),
    (
        "rate(vllm:time_per_output_token_seconds_sum[5m])", "metric-unknown", "removed in 0.15.0",
        "write vllm:inter_token_latency_seconds_sum",
    ),
    ("rate(vllm:num_preemptions[5m])", "metric-unknown", "a counter", "vllm:num_preemptions_total"),
    ("vllm:avg_prompt_throughput_toks_per_s", "metric-unknown", "0.7.0", "rate(vllm:prompt_tokens"),
    ("deployctl_door_request_total", "metric-unknown", "exports no", "door_requests_total"),
    ("vllm:num_requests_running{model=\"m\"}", "metric-label", "no label model", "model_name"),
    (
        "rate(vllm:request_success_total{finish_reason=\"stop\"}[5m])", "metric-label",
        "no label finish_reason", "write finished_reason",
    ),
    (
        "sum by (finished_reason) (rate(vllm:generation_tokens_total[5m]))", "metric-label",
        "grouped by finished_reason", "engine, model_name",
    ),
    ("vllm:num_requests_running{le=\"1.0\"}", "metric-label", "no label le", "_bucket"),
    (f"rate({BUCKETS}{{le=\"1\"}}[5m])", "bucket-bound", "no bucket le=\"1\"", "le=\"1.0\""),
    (f"rate({BUCKETS}{{le=\"0.3\"}}[5m])", "bucket-bound", "le=\"0.3\"", "le=\"0.5\""),
    (
        "vllm:lora_requests_info", "metric-conditional", "with --enable-lora only",
        "leave the query out",
    ),
    (
        "{__name__=~\"vllm:(gpu_cache_usage_perc|num_requests_running)\"}", "metric-unknown",
        "no vllm:gpu_cache_usage_perc", ":kv_cache_usage_perc",
    ),
    ("{__name__=~\"vllm:gpu_cache.*\"}", "metric-unknown", "0.12.0", ":kv_cache_usage_perc"),
    ("max_over_time(vllm:kv_cache_usage_perc[5m]) >= 95", "ratio-as-percent", "with 95", "0.95"),
    ("vllm:num_requests_running{", "query-unread", "ends early", "promtool"),
    ("sum(vllm:generation_tokens_total)", "counter-without-rate", "engine's start", "rate("),
    ("rate(vllm:num_requests_running[5m])", "rate-of-gauge", "is a gauge", "avg_over_time"),
    (
        f"histogram_quantile(0.9, sum(rate({BUCKETS}[5m])))", "quantile-without-le",
        "does not keep le", "sum by (le)",
    ),
    (
        f"histogram_quantile(0.9, sum without (le) (rate({BUCKETS}[5m])))", "quantile-without-le",
        "does not keep le", "sum by (le)",
    ),
    (
        "histogram_quantile(0.9, rate(vllm:time_to_first_token_seconds_sum[5m]))",
        "quantile-without-le", "of vllm:time_to_first_token_seconds_sum", BUCKETS,
    ),
    (f"histogram_quantile(95, rate({BUCKETS}[5m]))", "quantile-without-le", "is 95", "0.95"),
    ("avg(vllm:kv_cache_usage_perc) > 90", "ratio-as-percent", "compared with 90", "write 0.9"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "code", "says", "fix"), BAD)
def test_a_query_that_reads_nothing_or_nonsense_is_named(query, code, says, fix, told):
    for document, place in (
        (dashboard(query), "Dashboard/Engine: panels[0].targets[0].expr"),
        (rules(query), "Rules: groups[0].rules[0].expr"),
    ):
        ((found, where, message, instead),) = told(document)
        assert (found, where) == (code, place)
        assert says in message
        assert fix in instead


def test_a_deprecated_metric_is_named_before_it_goes(told):
    ((code, _, message, fix),) = told(
        dashboard("vllm:gpu_cache_usage_perc"), engine_version="0.9.2"
    )
    assert code == "metric-deprecated"
    assert "0.9.2 calls vllm:gpu_cache_usage_perc deprecated" in message
    assert fix == "write vllm:kv_cache_usage_perc"


def test_the_release_decides(told):
    old, new = "vllm:gpu_cache_usage_perc", "vllm:kv_cache_usage_perc"
    assert one(told, old, engine_version="0.9.1") == set()
    assert one(told, new, engine_version="0.9.1") == {"metric-unknown"}
    assert one(told, new, engine_version="v0.33.0") == set()
    service = {"model": "m", "gpu": "l4", "engine_version": "0.9.1"}
    both = json.dumps(service) + "\n---\n" + json.dumps(dashboard(new))
    assert {code for code, where, *_ in told(both) if "panels" in where} == {"metric-unknown"}


def test_a_share_shown_as_percent(told):
    ((code, *_),) = told(dashboard("vllm:kv_cache_usage_perc", unit="percent"))
    assert code == "ratio-as-percent"
    assert told(dashboard("vllm:kv_cache_usage_perc * 100", unit="percent")) == []
    assert told(dashboard("vllm:kv_cache_usage_perc", unit="percentunit")) == []
    assert told(dashboard("count(vllm:kv_cache_usage_perc > 0.9)", unit="percent")) == []
    ((code, _, message, fix),) = told(
        dashboard("100 * vllm:kv_cache_usage_perc", unit="percentunit")
    )
    assert (code, fix) == ("ratio-as-percent", "write unit: percent")
    assert "is 100 here at the most" in message


def test_what_a_rule_records_may_be_read(told):
    assert told(rules("vllm:load > 3", record="vllm:load")) == []
    assert {code for code, *_ in told(rules("vllm:load > 3"))} == {"metric-unknown"}


WRAPPED = {
    "an export by the API": lambda d: {"meta": {}, "dashboard": d},
    "rows in panels": lambda d: {**d, "panels": [{"type": "row", "panels": d["panels"]}]},
    "rows, as Grafana 4 had them": lambda d: {"title": "t", "rows": [{"panels": d["panels"]}]},
    "a library panel": lambda d: {"kind": 1, "model": {**d["panels"][0], "title": "p"}},
    "library panels of an export": lambda d: {
        **d, "panels": [], "__elements": {"a": {"kind": 1, "model": d["panels"][0]}},
    },
    "Grafana's own resource": lambda d: {
        "apiVersion": "dashboard.grafana.app/v2beta1", "kind": "Dashboard",
        "metadata": {"name": "d"}, "spec": {"elements": {"p": {"spec": {"data": {"spec": {
            "queries": [{"spec": {"query": {"spec": d["panels"][0]["targets"][0]}}}]}}}}}},
    },
    "annotations": lambda d: {
        **d, "panels": [], "annotations": {"list": [d["panels"][0]["targets"][0]]},
    },
    "a ConfigMap": lambda d: {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"},
        "data": {"d.json": json.dumps(d), "other.json": "{expr", "notes": "expr"},
    },
    "grafana-operator": lambda d: {
        "apiVersion": "grafana.integreatly.org/v1beta1", "kind": "GrafanaDashboard",
        "metadata": {"name": "d"}, "spec": {"json": json.dumps(d)},
    },
}  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=list(WRAPPED))
def test_a_dashboard_is_found_in_whatever_holds_it(wrap, told):
    codes = {code for code, *_ in told(wrap(dashboard(BAD[0][0])))} - {"no-schema"}
    assert codes == {"metric-unknown"}


def test_variables_with_queries_are_read_and_a_counter_is_enough_for_them(told):
    def variable(query):
        return told(dashboard(templating={"list": [{"type": "query", "query": query}]}))

    assert variable("label_values(vllm:generation_tokens_total, model_name)") == []
    assert variable({"query": 'label_values(vllm:num_requests_running{a="$b"}, pod)'}) == []
    assert variable("label_values(namespace)") == []
    assert variable("metrics(vllm:.*perc)") == []
    ((code, where, *_),) = variable({"query": "label_values(vllm:num_requests_swapped, pod)"})
    assert code == "metric-unknown"
    assert where == "Dashboard/Engine: templating.list[0].query.query"


def test_queries_of_other_data_sources_are_let_alone(told):
    panel = dashboard(BAD[0][0])["panels"][0] | {"datasource": {"type": "loki"}}
    assert told(dashboard(panels=[panel])) == []
    named = panel | {"datasource": "Loki", "targets": [{"expr": '{a="b"} |= "vllm:x"'}]}
    assert told(dashboard(panels=[named])) == []
    mixed = panel | {"targets": [{"expr": BAD[0][0], "datasource": {"type": "prometheus"}}]}
    assert len(told(dashboard(panels=[mixed]))) == 1


@pytest.mark.parametrize("kind", ["PrometheusRule", "VMRule"])
def test_rules_as_objects_and_in_a_configmap(kind, told):
    spec = rules(BAD[0][0])
    group = (
        "monitoring.coreos.com/v1"
        if kind == "PrometheusRule"
        else "operator.victoriametrics.com/v1"
    )
    found = {"apiVersion": group, "kind": kind, "metadata": {"name": "r"}, "spec": spec}
    places = [where for code, where, *_ in told(found) if code == "metric-unknown"]
    assert places == [f"{kind}/r: spec.groups[0].rules[0].expr"]
    held = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "r"},
        "data": {"r.yaml": yaml.safe_dump(spec)},
    }  # fmt: skip
    assert [code for code, *_ in told(held)] == ["metric-unknown"]
    held["data"]["r.yaml"] = yaml.safe_dump_all([rules("1"), spec])  # several documents
    assert [code for code, *_ in told(held)] == ["metric-unknown"]


def test_what_is_not_read_does_not_name_what_it_only_says(told):
    codes = [c for c, *_ in told(dashboard('vllm:x_y{a="vllm:gpu_z"} ( # vllm:gpu_a'))]
    assert sorted(codes) == ["metric-unknown", "query-unread"]


def test_the_line_is_that_of_the_query_and_tabs_and_emoji_do_not_hide_it(found):
    text = json.dumps(dashboard(BAD[0][0], title="Engine \N{GRINNING FACE}"), indent="\t")
    (finding,) = found(text, file="d.json")
    assert '"expr"' in text.splitlines()[finding.line - 1]
    assert finding.where.startswith("Dashboard/Engine \N{GRINNING FACE}: ")


def test_a_dashboard_says_itself_what_is_meant(told):
    meant = dashboard(BAD[0][0]) | {"x-deployctl": {"check-ignore": "metric-unknown"}}
    assert told(meant) == []


def test_engines_of_the_set_decide_for_its_dashboards(spoilt, found):
    spoilt.engine["image"] = "vllm/vllm-openai:v0.9.1"
    text = spoilt.text + "\n---\n" + json.dumps(dashboard("vllm:kv_cache_usage_perc"))
    assert [f.message for f in found(text) if f.where.startswith("Dashboard")] == [
        "vLLM 0.9.1 exports no vllm:kv_cache_usage_perc; it came with 0.9.2"
    ]


RULE_FILE = """\
groups:
- name: g
  rules:
  - alert: A

    expr: |  # a comment

      sum(rate(vllm:gpu_cache_usage_percent[5m])) > 0
        and

      vllm:gpu_cache_usage_perc > 0.9
  - alert: B
    expr: vllm:num_requests_swapped > 0
"""


def test_a_finding_in_a_query_of_several_lines_is_at_its_own(found):
    at = {RULE_FILE.splitlines()[f.line - 1] for f in found(RULE_FILE) if "metric" in f.code}
    assert at == {
        "      sum(rate(vllm:gpu_cache_usage_percent[5m])) > 0",
        "      vllm:gpu_cache_usage_perc > 0.9",
        "    expr: vllm:num_requests_swapped > 0",
    }


def test_a_finding_in_a_text_of_a_config_map_is_at_its_line_of_the_file(found):
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  rules.yaml: |\n"
    text = head + "".join(f"    {line}\n" if line else "\n" for line in RULE_FILE.splitlines())
    lines = {text.splitlines()[f.line - 1].strip() for f in found(text) if "metric" in f.code}
    assert "vllm:gpu_cache_usage_perc > 0.9" in lines
    assert "expr: vllm:num_requests_swapped > 0" in lines
    assert len(lines) == 3


def test_a_folded_query_is_at_its_key(found):
    text = RULE_FILE.replace("|  # a comment", ">-")
    keys = {f.line for f in found(text) if "usage_perc" in f.message}
    assert keys == {6}
