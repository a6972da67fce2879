"""nvidia-smi's output, as people published it."""

from pathlib import Path

import pytest

from deployctl.hardware.nvidia import (
    Card,
    read_apps,
    read_cards,
    read_failure,
    read_lost,
    read_matrix,
)

DATA = Path(__file__).parents[2] / "data" / "nvidia-smi"


def recorded(name: str) -> str:
    return (DATA / name).read_text(encoding="utf-8")


def test_columns_are_found_by_their_header():
    cards = read_cards(recorded("a100-40gb-five-cards.csv"))
    assert [c.index for c in cards] == [3, 4, 5, 6, 7]
    assert {c.memory_total_mib for c in cards} == {40960}
    assert [c.mig for c in cards] == [False] * 5
    assert cards[0].name is None  # not asked for


@pytest.mark.parametrize(
    ("file", "fields", "torch_gib"),
    [  # what torch reports for the same card, as logged by engines
        ("a100-40gb-five-cards.csv", (), 39.49),
        ("h100-one-busy.noheader.csv", ("index", "name", "total", "used", "free"), 79.18),
        ("rtx4090-idle.noheader.csv", ("name", "total", "used", "free"), 23.52),
    ],
)
def test_usable_memory_is_what_torch_reports(file, fields, torch_gib):
    named = [f"memory.{f}" if f in ("total", "used", "free") else f for f in fields]
    usable = read_cards(recorded(file), named)[0].usable_mib
    assert usable is not None
    assert usable / 1024 == pytest.approx(torch_gib, abs=0.01)


def test_usable_memory_is_the_same_on_a_busy_card():
    idle, busy = read_cards(
        recorded("h100-one-busy.noheader.csv"),
        ("index", "name", "memory.total", "memory.used", "memory.free"),
    )
    assert busy.memory_used_mib == 37155
    assert idle.usable_mib == busy.usable_mib == 81080


def test_usable_memory_from_the_reserved_share():
    [card] = read_cards(recorded("rtx5090-laptop.csv"))
    assert card.usable_mib == 24137  # used + free; the reserved share makes up the rest
    alone = Card(memory_total_mib=card.memory_total_mib, memory_reserved_mib=326)
    assert alone.usable_mib == 24137
    assert Card(memory_total_mib=24463).usable_mib is None


def test_identity_of_an_l4():
    [card] = read_cards(recorded("l4-identity.csv"))
    assert card.name == "NVIDIA L4"
    assert card.driver == "580.105.08"
    assert card.uuid == "GPU-c2f76b33-7953-256e-8f33-1343419b1a1c"
    [other] = read_cards(recorded("l4.noheader.csv"), ("name", "memory.total", "driver_version"))
    assert other.memory_total_mib == 23034


def test_a100_80gb_and_4090():
    [a100] = read_cards(
        recorded("a100-80gb.noheader.csv"), ("name", "uuid", "driver_version", "memory.total")
    )
    assert (a100.name, a100.memory_total_mib) == ("NVIDIA A100-SXM4-80GB", 81920)
    [card] = read_cards(recorded("rtx4090-windows.csv"))
    assert (card.name, card.driver) == ("NVIDIA GeForce RTX 4090", "616.56")


def test_what_the_driver_does_not_say_is_none():
    [gb10] = read_cards(recorded("gb10.noheader.csv"), ("name", "memory.total", "driver_version"))
    assert gb10.memory_total_mib is None
    assert gb10.driver == "580.126.09"
    [p100] = read_cards(recorded("p100-not-supported.csv"))
    assert (p100.index, p100.memory_total_mib, p100.compute_capability) == (0, 16280, None)
    [laptop] = read_cards(recorded("rtx4070-laptop-mig.csv"))
    assert laptop.mig is None


def test_mig_and_capability():
    [card] = read_cards(recorded("a100-mig-mode.csv"))
    assert card.mig is True
    [blackwell] = read_cards(recorded("rtx5060ti.csv"))
    assert blackwell.compute_capability == "12.0"


def test_eight_cards_and_who_holds_them():
    cards = read_cards(recorded("h200-eight-busy.csv"))
    apps = read_apps(recorded("h200-eight-busy.apps.csv"))
    assert len(cards) == len(apps) == 8
    assert {c.uuid for c in cards} == {a.gpu_uuid for a in apps}
    assert apps[0].memory_mib == 130004
    assert apps[7].name is None  # [Not Found]: it runs in another container


def test_apps_without_a_uuid_and_names_with_commas():
    apps = read_apps(recorded("vllm-two-engines.apps.csv"))
    assert [(a.pid, a.name, a.memory_mib) for a in apps] == [
        (3858903, "VLLM::EngineCore", 6265),
        (3880364, "VLLM::EngineCore", 5530),
    ]
    odd = "pid, process_name, used_gpu_memory [MiB]\n7, python serve.py --a 1, 2, 10 MiB\n"
    assert read_apps(odd)[0].name == "python serve.py --a 1, 2"


def test_a_lost_card_does_not_hide_the_others():
    text = recorded("one-card-lost.noheader.csv")
    fields = ("index", "name", "t", "sm", "mem", "g", "m", "pstate", "power")
    assert [c.index for c in read_cards(text, fields)] == [0, 2]
    assert read_lost(text) == ("0000:02:00.0 (Unknown Error)",)


@pytest.mark.parametrize(
    ("file", "code", "failure"),
    [
        ("no-driver.txt", 9, "no_driver"),
        ("no-devices.txt", 6, "no_devices"),
        ("mismatch.txt", 18, "mismatch"),
        ("bad-field.txt", 2, "bad_field"),
        ("l4-identity.csv", 0, None),
    ],
)
def test_why_there_is_no_answer(file, code, failure):
    assert read_failure(recorded(file), code) == failure


def test_an_unknown_complaint_is_a_failure_only_with_its_exit_code():
    assert read_failure("something new", 255) == "other"
    assert read_failure("something new", 0) is None


@pytest.mark.parametrize("file", ["no-driver.txt", "no-devices.txt", "mismatch.txt"])
def test_complaints_are_no_cards(file):
    assert read_cards(recorded(file)) == ()
    assert read_apps(recorded(file)) == ()


def test_peer_to_peer():
    allowed = read_matrix(recorded("l40s-eight.p2p.txt"))
    assert len(allowed) == 8 * 7
    assert set(allowed.values()) == {"OK"}
    forbidden = read_matrix(recorded("rtx5090-no-p2p.txt"))
    assert forbidden == {(0, 1): "CNS", (0, 2): "CNS", (1, 0): "CNS", (1, 2): "CNS"}


def test_topology_leaves_out_affinities():
    assert read_matrix(recorded("l4-two.topo.txt")) == {(0, 1): "SYS", (1, 0): "SYS"}
    assert read_matrix("") == {}
