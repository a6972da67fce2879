"""What an engine would ask the Hub for besides its model: where nothing, it starts without."""

import pytest

from deployctl.planning.plan import EnginePlan
from deployctl.spec import ServiceSpec


@pytest.fixture
def alone(make_plan):
    def ask(*args, env=None, local=False):
        engine = EnginePlan(name="vllm", version="0.32.0", image="i", args=args, env=env or {})
        spec = ServiceSpec(model="org/tiny", gpu="cpu")
        return make_plan(spec, engine=engine, model_local=local).asks_for_its_model_alone

    return ask


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
