"""Cards by claim: what the chart asks for, from a plan to the ResourceClaimTemplate."""

import kubernetes_validate
import pytest
import yaml

from chart.helmtool import RefusedError, engine, helm, objects, parsed, pod, template
from chart.test_golden import kept
from deployctl.checking import Severity, check_texts
from deployctl.hardware import load_profile
from deployctl.operations.prepare import Prepared
from deployctl.planning.cards import plan_cards
from deployctl.render.helm import VALUES_FILE, render_helm
from deployctl.spec import ServiceSpec
from known import planned

pytestmark = pytest.mark.helm

CLAIM = {
    "gpu": {"allocation": "claim", "count": 2, "cards": [{"name": "l4", "memory": "20Gi"}]},
}
NEW = ["--kube-version", "1.37"]


@pytest.fixture
def rendered(monkeypatch):
    """A plan for several kinds of cards, rendered: (prepared, text of the chart)."""

    def made(*gpus, others=False, **settings):
        seen = []
        with monkeypatch.context() as patch:
            patch.setattr("known.make_plan", lambda spec, facts, profile: seen.append(facts))
            planned("unquantized", "l4")
        spec = ServiceSpec(model="Qwen/Q", name="qwen", gpu=",".join(gpus), **settings)
        plan, profile = plan_cards(spec, seen[0], [*map(load_profile, gpus)], others=others)
        values = yaml.safe_load(render_helm(plan, spec, profile).files[VALUES_FILE])
        return Prepared(spec, seen[0], profile, plan), template(values, options=NEW)

    return made


def claimed(found):
    ((_, name),) = [key for key in found if key[0] == "ResourceClaimTemplate"]
    return name, found["ResourceClaimTemplate", name]["spec"]["spec"]["devices"]


def test_the_claim_of_a_plan(golden, rendered):
    _, text = rendered("t4", "l4", "a100-80gb", others=True)
    (only,) = [d for d in kept(text).split("---\n") if "kind: ResourceClaimTemplate" in d]
    golden("helm/claim.yaml", only)


def test_the_cheapest_that_fits_is_asked_for_first(rendered):
    prepared, text = rendered("t4", "l4", "a100-80gb")
    name, devices = claimed(parsed(text))
    (request,) = devices["requests"]
    assert [each["name"] for each in request["firstAvailable"]] == ["l4", "a100-80gb"]
    first = request["firstAvailable"][0]
    assert (first["deviceClassName"], first["count"]) == ("gpu.nvidia.com", 1)
    asked = [selector["cel"]["expression"] for selector in first["selectors"]]
    need = prepared.plan.cards[0].memory_mib
    assert asked == [
        f"device.capacity['gpu.nvidia.com'].memory.compareTo(quantity('{need}Mi')) >= 0",
        "device.attributes['gpu.nvidia.com'].cudaComputeCapability.compareTo(semver('8.0.0')) >= 0",
        "device.attributes['gpu.nvidia.com'].cudaComputeCapability"
        ".compareTo(semver('12.1.0')) <= 0",
        "device.attributes['gpu.nvidia.com'].productName in [\"NVIDIA L4\"]",
    ]
    spec = pod(parsed(text))
    assert spec["resourceClaims"] == [{"name": "cards", "resourceClaimTemplateName": name}]
    resources = engine(parsed(text))["resources"]
    assert resources["claims"] == [{"name": "cards"}]
    assert not [key for key in resources["limits"] if "nvidia" in key]
    # No label says where: the claim does.
    assert "nodeAffinity" not in spec["affinity"]


def test_one_kind_is_asked_for_exactly_and_cards_of_a_replica_are_alike(rendered):
    _, text = rendered("l4", cards="claim", tensor_parallel_size=2)
    _, devices = claimed(parsed(text))
    (request,) = devices["requests"]
    assert request["exactly"]["count"] == 2
    assert devices["constraints"] == [{"matchAttribute": "gpu.nvidia.com/productName"}]


def test_a_slice_has_a_class_of_its_own(rendered):
    _, text = rendered("a100-80gb:3g.40gb", cards="claim")
    _, devices = claimed(parsed(text))
    asked = devices["requests"][0]["exactly"]
    assert asked["deviceClassName"] == "mig.nvidia.com"
    assert "profile == '3g.40gb'" in asked["selectors"][-1]["cel"]["expression"]


def test_other_cards_are_another_template_and_other_flags_are_not():
    name = claimed(objects(CLAIM, options=NEW))[0]
    more = {"gpu": {**CLAIM["gpu"], "count": 4}}
    assert claimed(objects(more, options=NEW))[0] != name
    flags = {**CLAIM, "engine": {"args": ["--max-num-seqs", "8"]}}
    assert claimed(objects(flags, options=NEW))[0] == name


def test_a_device_plugin_has_no_claim():
    found = objects(options=NEW)
    assert not [key for key in found if key[0] == "ResourceClaimTemplate"]
    assert "resourceClaims" not in pod(found)


@pytest.mark.parametrize("version", ["1.34", "1.35", "1.36", "1.37"])
def test_versions_that_have_claims_take_it(version, rendered):
    for values in (CLAIM, {"gpu": {**CLAIM["gpu"], "cards": [{"name": "a"}, {"name": "b"}]}}):
        found = objects(values, options=["--kube-version", version])
        claimed(found)
        for item in found.values():
            kubernetes_validate.validate(item, version, strict=True)


def test_older_versions_are_refused():
    with pytest.raises(RefusedError, match=r"a claim needs Kubernetes 1\.34, and this is v1\.33"):
        template(CLAIM, options=["--kube-version", "1.33.9"])


def test_lint_and_check_find_nothing(tmp_path, rendered):
    own = tmp_path / "values.yaml"
    own.write_text(yaml.safe_dump(CLAIM))
    told = helm("lint", "--strict", "charts/vllm", "--kube-version", "1.37", "--values", own)
    assert "0 chart(s) failed" in told
    _, text = rendered("t4", "l4", "a100-80gb", others=True)
    report = check_texts({"rendered.yaml": text})
    assert report.engines == 1
    assert [f.message for f in report.findings if f.severity != Severity.note] == []
