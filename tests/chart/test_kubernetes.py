"""The chart, as each Kubernetes version takes it."""

import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

from chart.helmtool import CHART, MAXIMAL, RefusedError, helm, objects, planned, template
from deployctl.checking import Options, check_texts
from deployctl.render.helm import VALUES_FILE, render_helm
from deployctl.render.manifests import KUSTOMIZATION, render_manifests

pytestmark = pytest.mark.helm

VERSIONS = ["1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"]
# Custom resources: deployctl's own schemas describe them.
CUSTOM = {"PodMonitor", "ServiceMonitor", "PrometheusRule", "ScaledObject", "HTTPRoute"}
CASES = {
    "default": ({}, []),
    "maximal": ({}, [MAXIMAL]),
    "hpa": ({"autoscaling": {"kind": "hpa"}, "monitoring": {"kind": "serviceMonitor"},
             "service": {"type": "LoadBalancer"}}, []),
    "cpu": ({"gpu": {"count": 0}, "cache": {"enabled": False},
             "security": {"readOnlyRootFilesystem": True}, "model": {"hostPath": "/m"}}, []),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_lint_finds_nothing(case, tmp_path):
    values, files = CASES[case]
    own = tmp_path / "values.yaml"
    own.write_text(yaml.safe_dump(values))
    more = [word for path in [*files, own] for word in ("--values", path)]
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, *more)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_every_version_takes_every_object(case, version):
    values, files = CASES[case]
    found = objects(values, files=files, options=["--kube-version", version])
    assert len(found) > 6
    custom = [item for (kind, _), item in found.items() if kind in CUSTOM]
    for item in found.values():
        if item not in custom:
            kubernetes_validate.validate(item, version, strict=True)
    told = check_texts({"c.yaml": yaml.safe_dump_all(custom)}, Options(kubernetes=version))
    assert not [f for f in told.findings if f.code in ("schema", "api-unknown", "no-schema")]


def test_an_older_kubernetes_is_refused():
    with pytest.raises(RefusedError, match=r"incompatible with Kubernetes v1\.28"):
        template(options=["--kube-version", "1.28"])


def test_plain_manifests_are_the_chart_s_objects_a_file_each(tmp_path):
    plan, spec, profile = planned("awq", "l4", name="qwen")
    values = yaml.safe_load(render_helm(plan, spec, profile).files[VALUES_FILE])
    text = template(values, options=["--skip-tests"])
    bundle = render_manifests(plan, text)
    assert bundle == render_manifests(plan, text)
    listed = yaml.safe_load(bundle.files[KUSTOMIZATION])["resources"]
    assert listed == sorted(set(bundle.files) - {KUSTOMIZATION})
    found = [d for path in listed for d in yaml.safe_load_all(bundle.files[path])]
    assert {(d["kind"], d["metadata"]["name"]) for d in found} == set(objects(values)) - {
        ("Pod", "qwen-smoke"),
        ("ConfigMap", "qwen-smoke"),
    }
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl command; .ci/helm fetches one")
    for path, content in bundle.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    built = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert len(list(yaml.safe_load_all(built.stdout))) == len(found)
