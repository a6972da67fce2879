"""Several services on the cards of one host: who is where, with what share, or what would do."""

import math
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployctl.hardware import load_profile
from deployctl.model import Documents, facts_from
from deployctl.planning.fleet import pack as packing
from deployctl.planning.fleet.fixes import advised
from deployctl.planning.fleet.make import HostCard, KnownNeeds, Member, place
from deployctl.planning.fleet.order import CardHolding, next_of
from deployctl.planning.fleet.pack import CardRoom, Item, Slot, can_be, free_gib, pack
from deployctl.spec import ServiceSpec

FEW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
L4 = HostCard(load_profile("l4"))  # 22.03 GiB


@pytest.fixture
def member(config):
    """A service of the fleet, from a published config."""

    def build(name, model, quantization=None, **wish):
        document = config(model)
        if quantization:
            document["quantization_config"] = quantization
        source = f"/models/{name}"
        facts = facts_from(Documents(source=source, local=True, config=document))
        return Member(ServiceSpec(model=source, name=name, **wish), facts)

    return build


@pytest.fixture
def awq():
    return {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}


@pytest.fixture
def three(member, awq):
    return [
        member("chat", "llama-8b", awq, max_model_len=8192, users=4),
        member("code", "qwen2.5-7b", awq, max_model_len=8192),
        member("small", "gemma3-1b"),
    ]


def shares(plan):
    return [[(share.service, share.share) for share in card.shares] for card in plan.cards]


def test_three_models_on_two_cards(three):
    """By hand, for cards of 22.03 GiB. An engine takes its share and 0.75 GiB more: 0.5 of CUDA
    context, 0.25 for what a load brings. At least chat needs 11.99 GiB, code 8.46, small 4.27;
    all three are 24.7, more than one card. One pair shares a card: the pair that leaves the fullest
    card emptiest is code and small with 12.73 (chat and code have 20.45, chat and small 16.26).
    chat alone has the engine's own 0.92: 20.27 + 0.75 = 21.02. On the other card 9.3 GiB are left,
    which go to the KV caches until 22.03 is full: 0.68 and 0.25 are 14.98 + 5.51 + 1.5 = 21.99.
    """
    planned = place(three, [L4, L4])
    plan = planned.plan
    assert plan.verdict == "fits"
    assert [need.gib for need in plan.needs] == [11.99, 8.46, 4.27]
    assert shares(plan) == [[("chat", 0.92)], [("code", 0.68), ("small", 0.25)]]
    assert [share.gib for share in plan.cards[1].shares] == [15.73, 6.26]
    assert [card.left_gib for card in plan.cards] == [1.01, 0.04]
    assert plan.order == ("chat", "code", "small")
    chat, code, small = planned.specs
    assert chat.env == {"CUDA_VISIBLE_DEVICES": "0"}
    assert (chat.gpu, chat.gpu_memory_held_gib) == ("l4", None)
    assert code.env == small.env == {"CUDA_VISIBLE_DEVICES": "1"}
    assert (code.gpu_memory_held_gib, small.gpu_memory_held_gib) == (6.26, 15.74)
    assert "0.68" in plan.services[1].engine.args
    assert place(three, [L4, L4]) == planned  # and always so


def test_each_of_a_pair_has_alike_many_times_what_it_asked_for(three):
    plan = place(three, [L4, L4]).plan
    code, small = plan.services[1:]
    assert code.max_concurrency > 10
    # The step of a share is one per cent of 22 GiB: 0.22 of caches of 0.9 and 0.4 GiB at least.
    assert small.max_model_len == 32768
    assert small.max_concurrency > 5


def test_what_does_not_fit_says_what_all_need_and_what_would_do(three):
    needs = KnownNeeds()
    planned = advised(place(three, [L4], needs), three, [L4], needs)
    plan = planned.plan
    assert (plan.verdict, planned.specs) == ("does_not_fit", ())
    [reason] = plan.reasons
    assert "chat 12.0 GiB, code 8.5 GiB, small 4.3 GiB; this host has 1 ×" in reason.message
    assert str(plan.fixes[0]) in reason.fix
    assert "2 × l4" in [fix.change[:6] for fix in plan.fixes]
    assert plan.fixes[-1].change.startswith("another host for")


def test_a_fix_is_enough(three):
    """What is told for a service's setting is tried once more, as a user would."""
    needs = KnownNeeds()
    plan = advised(place(three, [L4], needs), three, [L4], needs).plan
    tried = 0
    for fix in plan.fixes:
        words = fix.change.split()
        if fix.service is None or len(words) != 2:
            continue
        setting = {words[0][2:].replace("-", "_"): int(words[1])}
        changed = [
            each._replace(spec=each.spec.model_copy(update=setting))
            if each.spec.name == fix.service
            else each
            for each in three
        ]
        assert place(changed, [L4]).plan.verdict == "fits", fix
        tried += 1
    assert tried


def test_one_that_fits_no_card_is_named(member, three):
    large = member("large", "qwen2-72b")
    plan = place([*three, large], [L4, L4]).plan
    [reason] = plan.reasons
    assert reason.code == "fits_no_card"
    assert reason.message.startswith("large does not fit l4, though it were alone")
    assert [need.gpu for need in plan.needs] == ["l4", "l4", "l4", None]


def test_a_pinned_service_has_its_card_and_others_go_round_it(three):
    chat, code, small = three
    pinned = small._replace(
        spec=small.spec.model_copy(update={"env": {"CUDA_VISIBLE_DEVICES": "0"}})
    )
    plan = place([chat, code, pinned], [L4, L4]).plan
    assert [share.service for share in plan.cards[0].shares] == ["code", "small"]
    two = chat._replace(spec=chat.spec.model_copy(update={"env": {"CUDA_VISIBLE_DEVICES": "0,1"}}))
    plan = place([two, code], [L4, L4]).plan
    assert plan.verdict == "cannot_run"
    assert plan.reasons[0].message == "chat is pinned to 2 cards, and needs 1"


def test_a_split_takes_neighbours_and_is_alone_where_it_can(member, awq, three):
    split = member("split", "llama-8b", max_model_len=8192, gpus=2, tensor_parallel_size=2)
    planned = place([three[2], split], [L4] * 4)
    assert planned.specs[1].env == {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert shares(planned.plan)[2] == [("small", 0.92)]
    # Where there is no other card, it shares: with the same share on both.
    crowded = place([three[2], split], [L4, L4])
    assert crowded.plan.verdict == "fits"
    [first, second] = [dict(card) for card in shares(crowded.plan)]
    assert first["split"] == second["split"] < 0.92
    assert crowded.specs[1].gpu_memory_held_gib > 4


def test_what_others_hold_of_the_cards_and_a_share_that_is_said_are_kept(three):
    chat = three[0]
    said = chat._replace(spec=chat.spec.model_copy(update={"gpu_memory_utilization": 0.605}))
    planned = place([said, three[2]], [L4._replace(held_gib=1.0)])
    assert planned.specs[0].gpu_memory_utilization == 0.605
    assert planned.specs[1].gpu_memory_held_gib > 0.605 * 22 + 1
    assert planned.plan.cards[0].left_gib >= 0


def test_cards_of_two_kinds(three):
    planned = place(three, [HostCard(load_profile("t4")), L4])
    plan = planned.plan
    assert plan.verdict == "fits"
    assert "chat" in [share.service for share in plan.cards[1].shares]
    # CUDA would number the fastest first.
    assert planned.specs[0].env == {
        "CUDA_VISIBLE_DEVICES": "1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


def test_on_a_cpu_the_memory_of_the_host_is_shared(three):
    cpu = load_profile("cpu").model_copy(update={"memory_gib": 24.0})
    small = three[2]
    one, two = (
        small._replace(spec=small.spec.model_copy(update={"name": name, "kv_cache_gib": 2.0}))
        for name in ("one", "two")
    )
    planned = place([one, two], [HostCard(cpu)])
    # 2.0 GiB of weights × 1.2, 2 of KV cache, 2.5 of the process.
    assert planned.plan.cards[0].shares[0].gib == pytest.approx(6.9, abs=0.3)
    assert planned.specs[0].env == {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    assert place([one], [HostCard(cpu)]).specs == (one.spec.model_copy(update={"gpu": "cpu"}),)
    less = HostCard(cpu.model_copy(update={"memory_gib": 13.0}))
    needs = KnownNeeds()
    refused = advised(place([one, two], [less], needs), [one, two], [less], needs).plan
    assert refused.verdict == "does_not_fit"
    assert str(refused.fixes[0]) == "one: --kv-cache-gib 1"


@st.composite
def packings(draw):
    kinds = draw(st.sampled_from([("a",), ("a", "b")]))
    slots = [
        Slot(draw(st.sampled_from(kinds)), draw(st.integers(4, 24)))
        for _ in range(draw(st.integers(1, 3)))
    ]
    items = []
    for index in range(draw(st.integers(1, 5))):
        rooms = {
            kind: CardRoom(least, least + draw(st.sampled_from([0, 0, 3])))
            for kind in kinds
            if (least := draw(st.integers(1, 14)))
        }
        pinned = draw(st.sampled_from([(), (), (), (0,)]))
        cards = 1 if pinned else draw(st.sampled_from([1, 1, 2]))
        items.append(Item(f"s{index}", cards, rooms, pinned))
    return items, slots


def legal(items, slots, placed):
    for item, cards in zip(items, placed, strict=True):
        if item.pinned and cards != item.pinned:
            return False
        if len(set(cards)) != item.cards or len({slots[card].kind for card in cards}) != 1:
            return False
    return all(
        free_gib(
            [i.rooms[slot.kind] for i, cards in zip(items, placed, strict=True) if card in cards],
            slot.gib,
        )
        >= -1e-6
        for card, slot in enumerate(slots)
    )


@settings(FEW, max_examples=150)
@given(packings())
def test_no_card_is_overcommitted_and_none_is_refused_that_has_a_placement(packing):
    """Held against every placement there is."""
    items, slots = packing
    found = pack(items, slots)
    groups = [
        [tuple(c) for c in product(range(len(slots)), repeat=item.cards) if [*c] == sorted({*c})]
        for item in items
    ]
    possible = any(legal(items, slots, placed) for placed in product(*groups))
    assert (found is not None) == possible
    assert found is None or legal(items, slots, found)


@settings(FEW, max_examples=12)
@given(st.lists(st.sampled_from([2048, 8192, 16384]), min_size=1, max_size=3), st.integers(1, 3))
def test_services_that_fit_one_by_one_with_room_are_never_refused(lengths, cards):
    """Each goes to the emptiest card; where that always has room, the fleet fits, each engine has
    what it asked for beside the others, and the cards are not over-committed."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": 16,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "torch_dtype": "bfloat16",
    }
    facts = facts_from(Documents(source="/m", local=True, config=config))
    members = [
        Member(ServiceSpec(model="/m", name=f"s{i}", max_model_len=length), facts)
        for i, length in enumerate(lengths)
    ]
    host = [L4] * cards
    planned = place(members, host)
    left = [card.profile.memory_gib for card in host]
    for need in planned.plan.needs:
        left[left.index(max(left))] -= need.gib
    assert planned.plan.verdict == "fits" or min(left) < 0.1
    for card in planned.plan.cards:
        assert sum(share.gib for share in card.shares) <= card.memory_gib + 0.02
        assert sum(share.share for share in card.shares) <= 0.95
    for plan, length in zip(planned.plan.services, lengths, strict=False):
        assert (plan.verdict, plan.max_model_len) == ("fits", length)
        assert plan.max_concurrency >= 1


def holding(name, gib, *cards, peak=None):
    return CardHolding(name, cards, gib, gib if peak is None else peak)


def test_whoever_shrinks_makes_room_first():
    new = [holding("a", 10, 0), holding("b", 10, 0)]
    now = {"a": holding("a", 20, 0)}
    assert next_of(new, now, [22]).service == "a"
    now = {"a": holding("a", 10, 0)}
    assert next_of(new[1:], now, [22]).service == "b"


def test_two_that_change_places_are_in_each_others_way():
    new = [holding("a", 15, 1), holding("b", 15, 0)]
    now = {"a": holding("a", 15, 0), "b": holding("b", 15, 1)}
    assert next_of(new, now, [22, 22]) is None
    assert next_of(new, now, [math.inf, 22]).service == "b"


def test_whoever_needs_most_while_it_starts_is_first():
    new = [holding("large", 12, 0), holding("peaks", 8, 0, peak=14)]
    assert next_of(new, {}, [22]).service == "peaks"


@pytest.mark.parametrize(("gib", "there_is"), [(2.0, True), (6.6, False)])
def test_whether_a_change_is_enough_is_found_out_soon(gib, there_is, monkeypatch):
    """Sixteen on five cards of 22 GiB: of 6.6 each card has three. Of a plan with dozens of changes
    to try each must not be searched to its end."""
    looked = []
    monkeypatch.setattr(packing, "free_gib", lambda *of: looked.append(of) or free_gib(*of))
    rooms = [CardRoom(gib + number / 100, gib + number / 100) for number in range(16)]
    items = [Item(str(number), 1, {"l4": room}) for number, room in enumerate(rooms)]
    assert can_be(items, [Slot("l4", 22.0)] * 5) is there_is
    assert len(looked) < 10 * packing.FEW_STEPS
