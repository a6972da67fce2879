"""One plan for cards of several kinds: who fits, in which order, and with which flags."""

import pytest

from deployctl.hardware import load_profile
from deployctl.planning.cards import plan_cards
from deployctl.planning.make import make_plan
from deployctl.planning.plan import OTHER_CARD
from deployctl.spec import ServiceSpec
from known import planned


def chosen(facts, *gpus, others=False, **settings):
    spec = ServiceSpec(model=facts.source, gpu=",".join(gpus), **settings)
    return plan_cards(spec, facts, [load_profile(gpu) for gpu in gpus], others=others)


@pytest.fixture
def small(facts_of_known):
    return facts_of_known("awq")


@pytest.fixture
def large(facts_of_known):
    return facts_of_known("unquantized")


@pytest.fixture
def facts_of_known(monkeypatch):
    def facts(method):
        seen = []
        monkeypatch.setattr("known.make_plan", lambda spec, facts, profile: seen.append(facts))
        planned(method, "l4")
        return seen[0]

    return facts


def names(plan):
    return [(card.gpu, card.verdict) for card in plan.cards]


def test_the_cheapest_that_fits_is_first_and_those_that_do_not_say_why(large):
    plan, profile = chosen(large, "a100-80gb", "t4", "l4")
    assert (profile.name, plan.gpu, plan.verdict) == ("l4", "l4", "fits")
    assert names(plan) == [("l4", "fits"), ("a100-80gb", "fits"), ("t4", "does_not_fit")]
    assert "14.3 GiB while they load" in plan.cards[-1].why
    assert 2.5 < plan.cards[-1].missing_gib < 4


def test_a_card_without_a_price_comes_behind(small):
    plan, _ = chosen(small, "a6000", "a10", "b200")
    assert [card.gpu for card in plan.cards] == ["b200", "a10", "a6000"]


@pytest.mark.parametrize("gpu", ["l4", "a100-80gb", "h100", "t4"])
def test_a_claim_asks_for_the_memory_that_this_model_needs(small, gpu):
    """With so much it starts, and with half a GiB less it does not."""
    (card,) = chosen(small, gpu).plan.cards
    profile = load_profile(gpu)
    kept = profile.memory_total_mib / 1024 - profile.memory_gib
    least = card.memory_mib / 1024 - kept
    assert least < profile.memory_gib - 4  # it is the model's need, not the card's size
    spec = ServiceSpec(model="x", gpu=gpu, max_model_len=32768)
    for gib, verdict in ((least, "fits"), (least - 0.5, "does_not_fit")):
        small_card = profile.model_copy(update={"memory_gib": gib})
        assert make_plan(spec, small, small_card).verdict == verdict


def test_a_claim_never_asks_for_more_than_the_card_has(large):
    """A context that fills the card leaves no room for rounding up."""
    for gpu in ("l4", "rtx4090", "rtx3090"):
        (card,) = chosen(large, gpu, users=2, max_model_len=32768).plan.cards
        assert card.memory_mib <= load_profile(gpu).memory_total_mib


def test_where_no_card_fits_the_nearest_is_told(large):
    plan, profile = chosen(large, "t4", "a100-80gb", "l4", users=100, max_model_len=32768)
    assert (plan.verdict, profile.name) == ("does_not_fit", "a100-80gb")
    assert plan.reasons[0].code == "no_card_fits"
    said = plan.reasons[0].message
    assert said.startswith("none of 3 kinds of cards fits; nearest was NVIDIA A100 SXM4 (80 GB)")
    assert f"lacks {plan.cards[0].missing_gib:.1f} GiB a card" in said
    assert plan.reasons[0].fix
    assert [card.gpu for card in plan.cards] == ["a100-80gb", "l4", "t4"]
    assert plan.alternatives == ()


def test_one_card_that_does_not_fit_is_refused_as_ever(large):
    plan, _ = chosen(large, "t4")
    assert [reason.code for reason in plan.reasons] == ["weights_too_large"]


def test_the_context_is_what_all_hold(large):
    alone = {gpu: chosen(large, gpu, users=8).plan.max_model_len for gpu in ("l4", "a100-80gb")}
    plan, _ = chosen(large, "l4", "a100-80gb", users=8)
    assert plan.max_model_len == alone["l4"] < alone["a100-80gb"]
    assert any("NVIDIA A100 SXM4 (80 GB) alone holds" in note for note in plan.notes)


def test_flags_that_differ_are_set_for_all_where_they_hold_for_all(small):
    plan, _ = chosen(small, "l4", "t4")
    words = plan.engine.args
    assert words[words.index("--dtype") + 1] == "float16"
    assert [card.fits for card in plan.cards] == [True, True]
    assert any("--dtype float16 is set for all; NVIDIA L4" in note for note in plan.notes)


def test_an_fp8_cache_that_the_smaller_card_needs_is_set_for_all(large):
    plan, _ = chosen(large, "l4", "a100-40gb", users=20)
    assert "--kv-cache-dtype" in plan.engine.args
    assert [card.fits for card in plan.cards] == [True, True]


def test_flags_that_cannot_hold_for_all_refuse(small):
    """What a slice is told of batches is no setting of a whole card."""
    plan, _ = chosen(small, "l4", "a100-80gb:2g.20gb")
    assert (plan.verdict, plan.cost) == ("cannot_run", None)
    (reason,) = plan.reasons
    assert reason.code == "cards_differ"
    assert "MIG slice 2g.20gb is planned with --max-num-seqs 256" in reason.message
    assert "does not hold for NVIDIA L4" in reason.message
    assert "--gpu l4" in reason.fix


def test_an_environment_that_one_card_needs_is_set_for_all(large):
    plan, _ = chosen(large, "rtx4090", "h100", tensor_parallel_size=2)
    assert plan.engine.env == {"NCCL_P2P_DISABLE": "1"}
    assert "cards_differ" in [warning.code for warning in plan.warnings]


def test_any_other_card_will_do_that_has_what_every_known_one_needs(large):
    plan, _ = chosen(large, "l4", "a100-80gb", "t4", others=True)
    other = plan.alternatives[-1]
    assert (other.gpu, other.products) == (OTHER_CARD, ())
    assert other.memory_mib > max(card.memory_mib for card in plan.alternatives[:-1])
    assert (other.least_capability, other.most_capability) == ("8.0", "12.1")


def test_the_capability_is_what_the_release_and_its_kernels_take(large):
    old = chosen(large, "l4", others=True, engine_version="0.8.5").plan.alternatives[-1]
    assert old.most_capability == "9.0"  # its image has no code for Blackwell


def test_a_claim_has_eight_alternatives(small):
    gpus = ["rtx3090", "rtx4090", "l4", "l40s", "a10", "a6000", "a100-40gb", "a100-80gb", "h100"]
    plan, _ = chosen(small, *gpus, others=True)
    assert len(plan.cards) == 10
    assert [card.gpu for card in plan.alternatives] == [
        *("rtx3090", "rtx4090", "l4", "a100-40gb", "l40s", "a100-80gb", "h100"),
        OTHER_CARD,
    ]


def test_a_slice_is_asked_for_by_its_profile(small):
    plan, _ = chosen(small, "a100-80gb:2g.20gb")
    (card,) = plan.cards
    assert (card.slice, card.fits) == ("2g.20gb", True)
    assert card.memory_mib <= 20 * 1024
