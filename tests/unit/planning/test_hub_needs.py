"""What an engine would ask the Hub for besides its model: where nothing, it starts without."""

import pytest

from deployctl.planning.plan import EnginePlan
from deployctl.render.bundle import engine_environment
from deployctl.spec import ServiceSpec


@pytest.fixture
def planned(make_plan):
    def make(*args, env=None, local=False):
        engine = EnginePlan(name="vllm", version="0.32.0", image="i", args=args, env=env or {})
        spec = ServiceSpec(model="org/tiny", gpu="cpu")
        return make_plan(spec, engine=engine, model_local=local)

    return make


@pytest.fixture
def alone(planned):
    return lambda *args, **more: planned(*args, **more).asks_for_its_model_alone


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--served-model-name", "tokenizer"),
        ("--generation-config", "vllm"),
        ("--load-format=auto", "--max-model-len", "512"),
        ("--tokenizer-mode", "auto"),
    ],
)
def test_its_model_alone(alone, words):
    assert alone(*words)


@pytest.mark.parametrize(
    "words",
    [
        ("--tokenizer", "org/other"),
        ("--tokenizer=org/other",),
        ("--trust-remote-code",),
        ("--speculative-config", '{"model": "org/draft"}'),
        ("--speculative-config.model", "org/draft"),
        ("--enable-lora", "--lora-modules", "a=org/adapter"),
        ("--generation-config", "org/other"),
    ],
)
def test_what_names_more(alone, words):
    assert not alone("--max-model-len", "512", *words)


def test_the_service_s_own_word_counts_and_a_folder_asks_nobody(alone):
    assert not alone(env={"HF_HUB_OFFLINE": "0"})
    assert not alone(env={"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"})
    assert not alone(local=True)


@pytest.mark.parametrize(
    "words",
    [
        ("--tokenizer", "org/other"),
        ("--hf-config-path=org/other",),
        ("--speculative-config", '{"method": "eagle", "model": "org/draft"}'),
        ("--speculative-config.model", "org/draft"),
        ("--enable-lora", "--lora-modules", "a=/adapters/a", "b=org/adapter"),
        ("--lora-modules", '{"name": "a", "path": "org/adapter"}'),
    ],
)
def test_the_engine_of_a_folder_asks_the_hub_for_what_a_flag_names(planned, words):
    plan = planned("--max-model-len", "512", *words, local=True)
    assert plan.asks_the_hub
    assert "HF_HUB_OFFLINE" not in engine_environment(plan)
    assert not planned(*words, local=True, env={"HF_HUB_OFFLINE": "1"}).asks_the_hub


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--trust-remote-code", "--enable-lora"),
        ("--tokenizer", "/models/other"),
        ("--lora-modules", "a=/adapters/a", "--served-model-name", "org/name"),
        ("--speculative-config", '{"method": "ngram", "num_speculative_tokens": 3}'),
        ("--speculative-config", '{"model": "/models/draft"}'),
    ],
)
def test_the_engine_of_a_folder_asks_nobody_else(planned, words):
    assert not planned(*words, local=True).asks_the_hub
    assert engine_environment(planned(*words, local=True))["HF_HUB_OFFLINE"] == "1"
    assert planned(*words, local=True, env={"HF_HUB_OFFLINE": "0"}).asks_the_hub
    assert planned(*words).asks_the_hub
