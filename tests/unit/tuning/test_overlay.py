"""A recommendation laid over a spec: what wins, what is refused, and where it was measured."""

import pytest

from deployctl.errors import InputError
from deployctl.model.facts import Architecture, ModelFacts, Quantization
from deployctl.planning.plan import EnginePlan, ServingPlan
from deployctl.spec import ServiceSpec
from deployctl.spec.service import RECORDED
from deployctl.tuning.overlay import (
    SETTABLE,
    mismatches,
    model_digest,
    other_flags,
    overlay,
    same_hardware,
)
from deployctl.tuning.recommendation import Hardware, Measured, Recommendation

L4 = Hardware(gpu="l4", gpus=1, memory_gib=22.0)
ARCHITECTURE = Architecture(
    name="LlamaForCausalLM", model_type="llama", num_layers=2, hidden_size=64,
    intermediate_size=128, num_heads=2, num_kv_heads=2, head_dim=32, vocab_size=128,
    tied_embeddings=True, max_position_embeddings=512, dtype="float16",
)  # fmt: skip
FACTS = ModelFacts(
    source="/models/a", local=True, format="safetensors", engine="vllm",
    architecture=ARCHITECTURE, quantization=Quantization(method="awq", bits=4),
)  # fmt: skip


def recommended(settings, **measured):
    about = {
        "objective": "goodput", "model": "/models/a", "engine_version": "0.32.0",
        "target": "docker", "hardware": L4, "workload": "chat", "seed": 1, "study": "s",
        "date": "2026-11-24T09:00:00+00:00", **measured,
    }  # fmt: skip
    return Recommendation(
        verdict="winner" if settings else "baseline_best", why="w", settings=settings,
        measured=Measured(**about),
    )  # fmt: skip


def plan(**more):
    engine = EnginePlan(
        name="vllm", version="0.32.0", image="i", args=more.pop("args", ("--max-num-seqs", "64"))
    )
    given = {
        "name": "a", "model": "/models/a", "model_local": True, "served_model_name": "a",
        "gpu": "l4", "accelerator": "cuda", "verdict": "fits", "engine": engine, **more,
    }  # fmt: skip
    return ServingPlan(**given)


def test_what_a_recorded_spec_was_accepted_with_is_no_fault_of_a_setting():
    document = {"model": "m", "env": {"DB_PASS": "x"}}
    spec = ServiceSpec.model_validate(document, context=RECORDED)
    laid = overlay(recommended({"max_num_seqs": 64}), spec)
    assert (laid.spec.max_num_seqs, laid.spec.env) == (64, {"DB_PASS": "x"})


def test_it_wins_over_the_file_and_says_what_it_changes():
    spec = ServiceSpec(model="m", max_num_seqs=256, engine_args={"async_scheduling": True})
    laid = overlay(recommended({"max_num_seqs": 64, "async_scheduling": False}), spec)
    assert laid.spec.max_num_seqs == 64
    assert laid.spec.engine_args == {"async_scheduling": False}
    assert [(c.name, c.spec, c.recommended) for c in laid.changes] == [
        ("max_num_seqs", 256, 64),
        ("async_scheduling", True, False),
    ]
    assert spec.max_num_seqs == 256


def test_it_loses_against_what_is_given_this_one_time():
    spec = ServiceSpec(model="m", max_num_seqs=8)
    laid = overlay(
        recommended({"max_num_seqs": 64, "tensor_parallel_size": 2}), spec, pinned={"max_num_seqs"}
    )
    assert (laid.spec.max_num_seqs, laid.spec.tensor_parallel_size) == (8, 2)
    assert [(c.name, c.recommended) for c in laid.kept] == [("max_num_seqs", 64)]


def test_an_engine_argument_of_the_same_meaning_is_replaced():
    spec = ServiceSpec(model="m", engine_args={"max-num-seqs": 8, "--seed": 3})
    laid = overlay(recommended({"max_num_seqs": 64, "seed": 4}), spec)
    assert laid.spec.max_num_seqs == 64
    assert laid.spec.engine_args == {"seed": 4}
    spec = ServiceSpec(model="m", engine_args={"no-enable-prefix-caching": True})
    laid = overlay(recommended({"enable_prefix_caching": True}), spec)
    assert laid.spec.engine_args == {"enable_prefix_caching": True}


def test_what_the_spec_has_already_is_no_change():
    spec = ServiceSpec(model="m", max_num_seqs=64, engine_args={"async_scheduling": True})
    found = recommended({"max_num_seqs": 64, "async_scheduling": True, "enforce_eager": False})
    laid = overlay(found, spec)
    assert laid.spec == spec
    assert [c.name for c in laid.changes] == ["enforce_eager"]  # said, where the spec is silent
    assert overlay(recommended({}), spec).spec is spec


@pytest.mark.parametrize("name", ["model", "image", "expose", "env", "api_key_file", "port"])
def test_it_never_says_what_is_served_and_who_may_ask(name):
    assert name not in SETTABLE
    with pytest.raises(InputError, match="cannot be set by a recommendation"):
        overlay(recommended({name: "x"}), ServiceSpec(model="m"))


def test_a_value_that_the_spec_refuses_is_said_with_its_place():
    with pytest.raises(InputError) as caught:
        overlay(recommended({"max_num_seqs": 0}), ServiceSpec(model="m"), where="r.yaml")
    assert caught.value.where == "r.yaml: settings/max_num_seqs"


def test_measured_here_there_is_nothing_to_say():
    found = recommended({"max_num_seqs": 64}, model_digest=model_digest(FACTS))
    elsewhere = FACTS.model_copy(update={"source": "/elsewhere/copy"})
    assert mismatches(found, plan(model="/elsewhere/copy"), elsewhere, L4) == []


def test_another_model_version_or_hardware_is_told():
    found = recommended({"max_num_seqs": 64}, engine_version="0.31.0")
    h100 = Hardware(gpu="h100", gpus=2, memory_gib=79.0)
    told = mismatches(found, plan(model="/models/b"), FACTS, h100)
    assert [line.split(" with ")[-1].split(" on ")[-1] for line in told] == [
        "the model /models/a, not /models/b",
        "vLLM 0.31.0, and the plan is for 0.32.0",
        "1 × l4, and this is 2 × h100",
    ]
    larger = FACTS.model_copy(update={"quantization": Quantization(method="awq", bits=8)})
    digested = recommended({"max_num_seqs": 64}, model_digest=model_digest(FACTS))
    assert "another model" in mismatches(digested, plan(), larger, L4)[0]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (L4, Hardware(gpu="l4"), True),  # its memory is not known
        (L4, Hardware(gpu="l4", gpus=2, memory_gib=22.0), False),
        (L4, Hardware(gpu="l4", memory_gib=21.0), False),
        (Hardware(gpu="cpu", processor="A"), Hardware(gpu="cpu", processor="B"), False),
        (Hardware(gpu="cpu", processor="A"), Hardware(gpu="cpu"), True),
    ],
)
def test_hardware_is_the_same_unless_it_says_otherwise(one, other, same):
    assert same_hardware(one, other) is same
    assert same_hardware(other, one) is same


def test_what_else_the_spec_changed_since_is_told():
    found = recommended(
        {"max_num_seqs": 64}, args=("--max-num-seqs", "64", "--max-model-len", "8192", "--eager")
    )
    now = plan(args=("--max-num-seqs", "64", "--max-model-len", "4096"))
    assert other_flags(found, now) == [
        "--eager (unset), measured with on",
        "--max-model-len 4096, measured with 8192",
    ]
    assert other_flags(recommended({"max_num_seqs": 64}), now) == []  # not known
