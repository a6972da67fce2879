"""An engine that is tried on a cluster by itself: nobody is led to it, and it leaves nothing."""

import pytest
import yaml

from deployctl.operations.bundle import ChartOptions, render_alone
from deployctl.operations.prepare import prepare
from deployctl.render.candidate import candidate
from deployctl.spec import ServiceSpec
from known import tiny_folder

PUBLISHED = {
    "model": {"claim": "models"},
    "replicas": 3,
    "monitoring": {"kind": "podMonitor"},
    "httpRoute": {"enabled": True, "parents": [{"name": "gateway"}]},
}


@pytest.fixture
def prepared(tmp_path):
    model = tiny_folder(tmp_path / "tiny")
    return prepare(ServiceSpec(model=str(model), gpu="cpu", name="chat", target="kubernetes"))


def values(prepared, cached=False, **over):
    options = ChartOptions(overrides={**PUBLISHED, **over})
    tried = candidate(
        prepared.spec,
        prepared.plan,
        "kubernetes",
        port=8000,
        cards=None,
        render=lambda _, plan, spec: render_alone(prepared, options, plan, spec, cached=cached),
    )
    assert tried.plan.replicas == 1
    return yaml.safe_load(tried.bundle.files["values.yaml"])


def test_it_is_one_replica_that_nobody_is_led_to(prepared):
    found = values(prepared)
    assert found["name"] == "chat-candidate"
    assert "replicas" not in found  # one, as the chart has it
    assert not found.get("httpRoute", {}).get("enabled")
    assert "monitoring" not in found
    assert found["model"]["claim"] == "models"
    assert found["drain"]["preStopSeconds"] == 1


@pytest.mark.parametrize(
    ("cache", "cached", "has"),
    [
        ({"accessMode": "ReadWriteMany"}, False, {"existingClaim": "chat-shared-cache"}),
        ({"accessMode": "ReadWriteMany", "existingClaim": "c"}, True, {"existingClaim": "c"}),
        ({"size": "5Gi"}, False, {"enabled": False}),
        ({"size": "5Gi"}, True, {"size": "5Gi"}),
    ],
)
def test_its_cache_is_its_services_where_several_nodes_may_write_it(prepared, cache, cached, has):
    found = values(prepared, cached, cache=cache)["cache"]
    assert found.items() >= has.items()
