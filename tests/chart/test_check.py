"""deployctl check over everything that we render ourselves: nothing to mend."""

import pytest

from chart.helmtool import MAXIMAL, planned, template
from deployctl.checking import Severity, check_texts
from deployctl.hardware import all_profiles
from deployctl.render.helm import VALUES_FILE, chart, render_helm
from deployctl.targets import helm

pytestmark = pytest.mark.helm

PROFILES = [profile.name for profile in all_profiles()]


def to_mend(text):
    report = check_texts({"rendered.yaml": text})
    assert report.engines > 0
    return [(f.code, f.where, f.message) for f in report.findings if f.severity != Severity.note]


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
@pytest.mark.parametrize("method", ["awq", "gptq", "unquantized"])
@pytest.mark.parametrize("gpu", PROFILES)
def test_a_plan_renders_to_nothing_to_mend(gpu, method, gpus):
    if gpu == "cpu" and gpus > 1:
        pytest.skip("a CPU has no cards to share a model")
    settings = {} if gpus == 1 else {"gpus": gpus, "tensor_parallel_size": gpus, "replicas": 1}
    plan, spec, profile = planned(method, gpu, **settings)
    if plan.verdict != "fits":
        pytest.skip(f"does not fit: {plan.reasons[0].code}")
    values = render_helm(plan, spec, profile).files[VALUES_FILE]
    assert to_mend(helm.template(chart(), values, name="qwen", namespace="serving")) == []


def test_the_maximal_values_have_nothing_to_mend_but_the_secret_they_ask_for():
    found = to_mend(template({}, files=[MAXIMAL]))
    assert {code for code, _, _ in found} <= {"secret-in-manifest"}
