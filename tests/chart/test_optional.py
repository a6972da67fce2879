"""Parts that are there only when values ask for them: download, volumes, rules, dashboards."""

import json

import pytest

from chart.helmtool import engine, maximal, objects, one

pytestmark = pytest.mark.helm


def test_the_download_job_is_another_one_for_another_model():
    def job(**model):
        values = maximal()
        values["model"] = {**values["model"], **model}
        return next(name for kind, name in objects(values) if kind == "Job")

    assert job() == job()
    assert job() != job(revision="other")
    assert job() != job(id="org/other")


def test_whatever_changes_a_job_changes_its_name():
    def job(**change):
        found = objects({**maximal(), **change})
        return next((name, item["spec"]) for (kind, name), item in found.items() if kind == "Job")

    jobs = [
        job(),
        job(download={"enabled": True, "memory": "8Gi"}),
        job(download={"enabled": True, "image": "other:1"}),
        job(security={"runAsUser": 5}),
        job(labels={"team": "other"}),
        job(hubToken={"existingSecret": "mine"}),
        job(engine={**maximal()["engine"], "pullPolicy": "Always"}),
    ]
    assert len({name for name, _ in jobs}) == len({json.dumps(spec) for _, spec in jobs}) == 7


def test_a_volume_with_the_checkpoint_takes_the_place_of_the_hub():
    found = objects({"model": {"id": "mine", "claim": "models", "subPath": "a/b"}})
    words = engine(found)["args"]
    assert words[:2] == ["--model", "/models/qwen"]
    mount = next(m for m in engine(found)["volumeMounts"] if m["name"] == "model")
    assert mount["subPath"] == "a/b"
    assert mount["readOnly"] is True
    assert {"name": "HF_HUB_OFFLINE", "value": "1"} in engine(found)["env"]
    assert one(found, "NetworkPolicy")["spec"]["egress"] == []


def test_room_for_rules_and_dashboards(large):
    assert one(large, "PrometheusRule")["spec"]["groups"][0]["name"] == "vllm"
    dashboards = one(large, "ConfigMap", "qwen-dashboards")
    assert json.loads(dashboards["data"]["vllm.json"]) == {"title": "vLLM"}
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_null_takes_a_default_away_and_what_deployctl_writes_is_read_so():
    found = objects(
        {"dashboards": {"files": {"a.json": "{}"}, "labels": {"a": "b", "grafana_dashboard": None}}}
    )
    labels = one(found, "ConfigMap", "qwen-dashboards")["metadata"]["labels"]
    assert labels["a"] == "b"
    assert "grafana_dashboard" not in labels
