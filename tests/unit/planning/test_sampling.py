"""How the engine samples where a request does not say, as the plan tells it."""

import pytest

from deployctl.model import Documents, facts_from
from deployctl.planning.sampling import sampling

GENERATION = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "do_sample": True, "eos_token_id": 7}


def said(arguments, generation=GENERATION, version="0.32.0"):
    documents = Documents(
        source="/m", local=True, config={"model_type": "qwen3"}, generation_config=generation
    )
    return sampling(facts_from(documents), arguments, version, "as asked")


@pytest.mark.parametrize(
    ("arguments", "defaults", "note"),
    [
        (
            {},
            {"temperature": 0.6, "top_p": 0.95, "top_k": 20},
            "temperature 0.6, top_p 0.95, top_k 20 (generation_config.json).",
        ),
        (
            {"override_generation_config": '{"temperature": 0.2, "min_p": 0.1}'},
            {"temperature": 0.2, "top_p": 0.95, "top_k": 20, "min_p": 0.1},
            "top_p 0.95, top_k 20 (generation_config.json); temperature 0.2, min_p 0.1 (as asked).",
        ),
        (
            {"generation_config": "vllm"},
            {},
            "vLLM's own sampling, not temperature 0.6, top_p 0.95, top_k 20 of "
            "generation_config.json, as asked.",
        ),
        (
            {"generation_config": "vllm", "override_generation_config": {"top_k": 5}},
            {"top_k": 5},
            "top_k 5 (as asked); otherwise vLLM's own sampling, not temperature 0.6, top_p 0.95, "
            "top_k 20 of generation_config.json, as asked.",
        ),
        (
            {"generation_config": "/other"},
            {},
            "what /other says, not temperature 0.6, top_p 0.95, top_k 20 of "
            "generation_config.json, as asked.",
        ),
    ],
)
def test_what_is_in_force_and_who_said_so(arguments, defaults, note):
    found = said(arguments)
    assert found.defaults == defaults
    assert found.notes == (f"Where a request does not say: {note}",)


def test_nothing_is_said_where_nothing_is_known():
    assert said({}, generation=None) == ({}, ())
    assert said({"override_generation_config": "no JSON"}, generation={"top_k": "many"}) == ({}, ())


def test_a_release_takes_what_it_knows():
    generation = {"presence_penalty": 1.5}
    assert said({}, generation, "0.32.0").defaults == generation
    assert said({}, generation, "0.30.0").defaults == {}


def test_a_limit_of_answers_held_requests_of_older_releases_to_it():
    generation = {"max_new_tokens": 512}
    assert len(said({}, generation, "0.17.0").notes) == 1
    assert said({}, generation, "0.16.0").notes[1] == (
        "No request gets more than 512 tokens: vLLM 0.16.0 holds all to max_new_tokens."
    )
    assert len(said({"generation_config": "vllm"}, generation, "0.16.0").notes) == 1
