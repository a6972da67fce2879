"""Plans laid beside a cluster, and the verb that shows it."""

import json
import sys

import pytest
import yaml
from tests.unit.doctor.cluster_parts import RecordedCluster, claim, deployment, free

from deployctl.cli import app
from deployctl.errors import InputError, TargetError
from deployctl.operations import clusterdoctor
from deployctl.operations.bundle import ChartOptions
from deployctl.operations.clusterdoctor import ClusterRequest, examine_cluster
from deployctl.spec import ServiceSpec
from known import tiny_folder

CHART = ChartOptions(overrides={"model": {"claim": "models"}})


@pytest.fixture
def cluster(monkeypatch):
    """The recorded one, in place of that of the settings; `objects` are what Helm makes."""
    found = RecordedCluster(**free())
    found.objects = {}

    def template(chart, values, *, name, namespace):
        if found.objects is None:
            raise TargetError("there is no helm command")
        found.values = yaml.safe_load(values)
        cards = found.values["gpu"]["count"]
        usual = [deployment(name, gpus=cards, nodes=()), claim(f"{name}-cache")]
        return yaml.safe_dump_all(found.objects.get(name, usual))

    monkeypatch.setattr(clusterdoctor, "Cluster", lambda settings, patience_s: found)
    monkeypatch.setattr(clusterdoctor.helm, "template", template)
    return found


@pytest.fixture
def model(tmp_path):
    return str(tiny_folder(tmp_path / "model"))


def by_id(examined):
    return {check.id: check for check in examined.checks}


def test_without_a_service_a_usual_one_is_taken(cluster):
    found = by_id(examine_cluster(ClusterRequest(gpus=2)))
    assert "a usual service's: 2 cards" in found["room"].detail
    assert found["claim"].title == "A usual claim"
    assert "plan" not in found


def test_without_helm_all_else_is_looked_at(cluster):
    cluster.objects = None
    found = by_id(examine_cluster(ClusterRequest(gpu="l4")))
    assert found["room"].status == "warn"
    assert found["gpu-nodes"].status == "pass"


def test_a_plan_is_laid_beside_the_cluster(cluster, model):
    spec = ServiceSpec(model=model, gpu="l4", target="kubernetes", name="chat")
    examined = examine_cluster(ClusterRequest([spec], chart=CHART))
    found = by_id(examined)
    assert examined.profile.name == "l4"
    assert found["plan"].detail == "1 × l4, 1 replica, vLLM 0.32.0"
    assert found["room"].detail == "1 card, 1 CPU, 4.0 GiB"


def test_auto_is_the_card_that_the_nodes_have(cluster, model):
    spec = ServiceSpec(model=model, target="kubernetes")
    assert examine_cluster(ClusterRequest([spec], chart=CHART)).profile.name == "l4"
    for node in cluster.answers["/api/v1/nodes"][:2]:
        node["metadata"]["labels"]["nvidia.com/gpu.product"] = "Tesla-T4"
    found = by_id(examine_cluster(ClusterRequest([spec], chart=CHART)))["plan"]
    assert found.status == "fail"
    assert "Tesla-T4, NVIDIA-L4" in found.detail


def test_auto_of_cards_by_claim_is_asked_of_their_driver(cluster, model):
    spec = ServiceSpec(model=model, target="kubernetes", cards="claim")
    found = by_id(examine_cluster(ClusterRequest([spec], chart=CHART)))["plan"]
    assert (found.status, "which card the pods are to have is not said" in found.detail) == (
        "fail",
        True,
    )
    assert "Tesla T4" in found.detail
    path = "/apis/resource.k8s.io/v1/resourceslices"
    cluster.answers[path] = [
        each
        for each in cluster.answers[path]
        if each["spec"]["devices"][0]["attributes"]["productName"]["string"] == "NVIDIA L4"
    ]
    examined = examine_cluster(ClusterRequest([spec], chart=CHART))
    assert examined.profile.name == "l4"
    assert by_id(examined)["gpu-claims"].status == "pass"


@pytest.mark.parametrize("both", [True, False])
def test_a_device_plugin_is_looked_at_where_a_service_needs_one(cluster, model, both):
    claims = ServiceSpec(model=model, gpu="l4", target="kubernetes", name="claims", cards="claim")
    plain = ServiceSpec(model=model, gpu="l4", target="kubernetes", name="plain", port=8001)
    cluster.objects["claims"] = [deployment("claims", gpus=0, nodes=())]
    found = by_id(
        examine_cluster(ClusterRequest([claims, *([plain] if both else [])], chart=CHART))
    )
    assert "gpu-claims" in found
    assert {id in found for id in ("gpu-nodes", "gpu-source", "runtime-class")} == {both}


def test_one_namespace_is_looked_at(model):
    specs = [ServiceSpec(model=model, namespace=name, name=name) for name in ("one", "two")]
    with pytest.raises(InputError, match="several clusters or namespaces"):
        examine_cluster(ClusterRequest(specs))


def test_of_a_file_with_both_the_cards_are_looked_at(cluster, model):
    specs = [
        ServiceSpec(model=model, gpu="cpu", target="kubernetes", name="small"),
        ServiceSpec(model=model, gpu="l4", target="kubernetes", name="big", port=8001),
    ]
    examined = examine_cluster(ClusterRequest(specs, chart=CHART))
    assert examined.profile.name == "l4"
    assert "gpu-nodes" in by_id(examined)
    assert [c.title for c in examined.checks if c.id == "plan"] == ["Plan of small", "Plan of big"]


def test_a_plan_that_cannot_be_is_a_check_that_fails(cluster, model):
    specs = [
        ServiceSpec(model="/nowhere", gpu="l4", target="kubernetes", name="gone"),
        ServiceSpec(model=model, gpu="l4", target="kubernetes", name="odd", max_model_len=10**6),
    ]
    found = examine_cluster(ClusterRequest(specs, chart=CHART)).checks
    plans = {c.title: c for c in found if c.id == "plan"}
    assert {c.status for c in plans.values()} == {"fail"}
    assert set(plans) == {"Plan of gone", "Plan of odd"}
    assert all(c.fix for c in plans.values())


def test_a_folder_wants_a_claim_and_the_right_to_bring_it(cluster, model):
    cluster.may = lambda asked: asked["resource"] != "jobs"
    spec = ServiceSpec(model=model, gpu="l4", target="kubernetes", name="chat")
    examined = examine_cluster(ClusterRequest([spec]))
    titles = {c.title: c for c in examined.checks}
    assert titles["Claim for the folder"].status == "pass"
    assert "jobs.batch" in titles["Permissions"].detail
    # Where values name what holds it, nothing is brought.
    found = by_id(examine_cluster(ClusterRequest([spec], chart=CHART)))
    assert found["permissions"].status == "pass"


@pytest.fixture
def doctor(cluster, monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["deployctl", "doctor", *words])
        with pytest.raises(SystemExit) as ended:
            app.main()
        return ended.value.code, capsys.readouterr()

    return run


def test_the_document_says_which_cluster(doctor):
    code, told = doctor("--target", "kubernetes", "--gpu", "cpu", "--output", "json")
    document = json.loads(told.out)
    assert (document["context"], document["namespace"], document["gpu"]) == ("lab", "llm", "cpu")
    assert code == (4 if document["verdict"] == "fail" else 0)


def test_what_a_fix_applies_is_printed_below(doctor, cluster):
    cluster.may = lambda asked: asked["verb"] != "delete"
    code, told = doctor("--target", "kubernetes", "--gpu", "l4")
    lines, _, below = told.out.partition("# Permissions\n")
    assert code == 4
    assert "may not delete" in lines
    assert yaml.safe_load(below.partition("---")[0])["kind"] == "Role"


@pytest.mark.parametrize("words", [("--probe",), ("--values", "/dev/null")])
def test_what_is_for_a_cluster_alone_is_refused_for_a_host(doctor, words):
    code, told = doctor("--target", "docker", *words)
    assert code == 2
    assert "add --target kubernetes" in told.err
