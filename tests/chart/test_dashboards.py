"""Dashboards that a service brings: told apart from others', and with what it promises."""

import json

import pytest

from chart.helmtool import RefusedError, objects, one

pytestmark = pytest.mark.helm
MODEL = {"id": "mine"}
ALL = ["service", "engine", "fleet", "loadtest"]


def brought(include=tuple(ALL), namespace="serving", **values):
    """The dashboards of a service by name, and the names of their files."""
    said = {"model": MODEL, "dashboards": {"include": list(include)}, **values}
    found = objects(said, options=("--namespace", namespace))
    maps = {
        name.removeprefix("qwen-dashboard-"): item
        for (kind, name), item in found.items() if kind == "ConfigMap" and "-dashboard-" in name
    }  # fmt: skip
    return {name: json.loads(next(iter(item["data"].values()))) for name, item in maps.items()}


def variables(board):
    return {variable["name"]: variable for variable in board["templating"]["list"]}


def test_none_is_brought_unasked():
    assert brought([]) == {}


def test_each_is_a_labelled_configmap_that_kubectl_can_apply():
    found = objects({"model": MODEL, "dashboards": {"include": ALL}})
    for which in ALL:
        made = one(found, "ConfigMap", f"qwen-dashboard-{which}")
        assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
        [(file, text)] = made["data"].items()
        assert file == f"{json.loads(text)['uid']}.json"
        assert len(text.encode()) < 200_000  # kubectl keeps 256 KiB of what it applied


def test_those_of_two_services_do_not_meet_and_the_fleets_is_one():
    here, there = brought(), brought(namespace="staging")
    uids = [board["uid"] for board in (*here.values(), *there.values())]
    assert all(len(uid) <= 40 for uid in uids)
    assert len(set(uids)) == 7
    assert here["fleet"]["uid"] == there["fleet"]["uid"] == "deployctl-fleet"
    assert here["service"]["title"] == "qwen: Service"


def test_they_open_with_the_service_and_with_what_it_promises():
    said = {"objectives": {"availability": 0.99, "ttftSeconds": 1.5}, "runbooks": "https://books/"}
    board = brought(alerts=said)["service"]
    found = variables(board)
    assert found["service"]["current"]["value"] == "qwen"
    assert found["namespace"]["current"]["value"] == "serving"
    constants = {n: v["query"] for n, v in found.items() if v["type"] == "constant"}
    assert constants == {
        "ttft_objective": "1.5",
        "itl_objective": "NaN",
        "e2e_objective": "NaN",
        "availability_budget": "0.01",
        "late_budget": "0.05",
        "runbooks": "https://books",
    }
    assert [panel for panel in board["panels"] if panel.get("links")]


def test_nothing_leads_to_runbooks_that_are_not_published():
    for board in brought().values():
        assert not [panel for panel in board["panels"] if panel.get("links")]
        assert "${runbooks}" not in json.dumps(board["panels"])


def test_one_that_there_is_not_is_refused():
    with pytest.raises(RefusedError):
        brought(["services"])


@pytest.mark.parametrize("kind", ["podMonitor", "serviceMonitor"])
def test_series_are_found_by_the_name_of_the_service(kind):
    found = objects({"model": MODEL, "monitoring": {"kind": kind}})
    spec = one(found, kind[0].upper() + kind[1:])["spec"]
    [endpoint] = spec.get("podMetricsEndpoints") or spec["endpoints"]
    assert endpoint["relabelings"] == [{"targetLabel": "service", "replacement": "qwen"}]
