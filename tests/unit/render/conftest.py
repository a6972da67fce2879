"""Plans to render: real ones for a known checkpoint, and ones made by hand."""

import pytest

from deployctl.hardware import load_profile
from deployctl.model.facts import Architecture, ModelFacts, Quantization
from deployctl.planning import make_plan
from deployctl.planning.plan import EnginePlan, ServingPlan
from deployctl.spec import ServiceSpec

QWEN = Architecture(
    name="Qwen2ForCausalLM",
    model_type="qwen2",
    num_layers=28,
    hidden_size=3584,
    intermediate_size=18944,
    num_heads=28,
    num_kv_heads=4,
    head_dim=128,
    vocab_size=152064,
    tied_embeddings=False,
    max_position_embeddings=32768,
    dtype="float16",
)
METHODS = {
    "awq": Quantization(method="awq", bits=4, group_size=128, zero_point=True),
    "gptq": Quantization(method="gptq", bits=4, group_size=128, symmetric=True),
}


@pytest.fixture(scope="session")
def planned():
    """`planned("awq", "l4", …)` plans Qwen2.5-7B-Instruct for a card, with settings."""

    def plan(method, gpu, **settings):
        model = f"Qwen/Qwen2.5-7B-Instruct-{'AWQ' if method == 'awq' else 'GPTQ-Int4'}"
        spec = ServiceSpec(model=model, gpu=gpu, max_model_len=8192, **settings)
        facts = ModelFacts(
            source=model,
            local=False,
            revision="0123456789abcdef0123456789abcdef01234567",
            format="safetensors",
            engine="vllm",
            architecture=QWEN,
            quantization=METHODS[method],
            parameters=7_615_616_512,
            weight_bytes=5_570_000_000,
            bytes_by_dtype={"I32": 3_370_000_000, "F16": 2_200_000_000},
            headers_read=True,
        )
        return make_plan(spec, facts, load_profile(gpu)), spec

    return plan


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
