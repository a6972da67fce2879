"""The comparison with a peer's chart on a cluster: what is counted, and what the chart is given."""

import pytest
import yaml
from benchmarks.cluster import sides
from benchmarks.cluster.peer import cards_of, failures


def pod(cards=None, **metadata):
    asked = {"nvidia.com/gpu": cards} if cards else {}
    containers = [{"resources": {"requests": {"cpu": "1", **asked}}}, {"resources": {}}]
    return {"metadata": {"name": "a", **metadata}, "spec": {"containers": containers}}


def test_cards_are_those_of_pods_that_are_to_stay():
    pods = [pod("1"), pod("2"), pod("4", deletionTimestamp="2026-11-27T10:00:00Z"), pod()]
    assert cards_of(pods) == 3


@pytest.mark.parametrize(
    ("failed", "said"),
    [
        ([], "0 of 30"),
        (["kept", "kept"], "2 of 30 (kept)"),
        (["new", "kept"], "2 of 30 (kept; new)"),
    ],
)
def test_failures_are_of_how_many_and_of_which_clients(failed, said):
    told = {"requests": {"new": 10, "kept": 20}, "failed": [{"kind": kind} for kind in failed]}
    assert failures(told) == said


def test_of_clients_that_did_not_ask_nothing_is_said():
    with pytest.raises(RuntimeError, match="their first request"):
        failures({"requests": {"new": 10, "kept": 1}, "failed": []})


def test_a_chart_is_taken_without_what_it_can_bring_along(tmp_path, monkeypatch):
    chart = tmp_path / "chart"
    chart.mkdir()
    document = {"name": "stack", "version": "1.2.3", "dependencies": [{"name": "prometheus"}]}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(document))
    (chart / "Chart.lock").write_text("")
    monkeypatch.setattr(sides, "run", lambda *words, **given: "")
    state = tmp_path / "state"
    setting = sides.Setting("ns", state, tmp_path / "model", "fake:1", 2, cards=1, real=False)
    peer = sides.ProductionStack(setting, chart)
    assert peer.title == "production-stack 1.2.3"
    copied = yaml.safe_load((state / "peer-chart" / "Chart.yaml").read_text())
    assert copied == {"name": "stack", "version": "1.2.3"}
    assert not (state / "peer-chart" / "Chart.lock").exists()
    assert yaml.safe_load((chart / "Chart.yaml").read_text()) == document

    spec = peer.values(8)["servingEngineSpec"]
    (model,) = spec["modelSpec"]
    assert (spec["vllmApiKey"], model["repository"], model["tag"]) == (peer.key(), "fake", "1")
    assert model["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert model["vllmConfig"]["maxNumSeqs"] == 8
