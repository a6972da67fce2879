"""Plans to render: real ones for a known checkpoint, and ones made by hand."""

import pytest

import known
from deployctl.planning.plan import EnginePlan, ServingPlan
from deployctl.render.monitoring import Watched
from deployctl.spec import ServiceSpec


@pytest.fixture(scope="session")
def planned():
    """`planned("awq", "l4", …)` plans Qwen2.5-7B-Instruct for a card, with settings."""
    return lambda method, gpu, **settings: known.planned(method, gpu, **settings)[:2]


@pytest.fixture(scope="session")
def by_hand():
    """`by_hand(args=…, model=…)`: a plan in which everything can be said."""

    def plan(*, args=(), env=None, version="0.32.0", image="deployctl/vllm-cpu:0.32.0", **more):
        spec = {name: value for name, value in more.items() if name in ServiceSpec.model_fields}
        wanted = ServiceSpec(**{"model": "/srv/tiny", "gpu": "cpu", **spec})
        given = {
            "name": wanted.service,
            "model": wanted.model,
            "model_local": True,
            "served_model_name": "tiny",
            "gpu": "cpu",
            "accelerator": "cpu",
            "verdict": "fits",
            "engine": EnginePlan(
                name="vllm", version=version, image=image, args=tuple(args), env=env or {}
            ),
            **{name: value for name, value in more.items() if name in ServingPlan.model_fields},
        }
        return ServingPlan(**given), wanted

    return plan


@pytest.fixture
def watched(by_hand):
    """What monitoring is told of a service."""

    def make(name="chat", version="0.32.0", port=8000, **more):
        plan, spec = by_hand(name=name, version=version, port=port, **more)
        return Watched(plan, spec, f"127.0.0.1:{port}", f"/run/secrets/{name}")

    return make
