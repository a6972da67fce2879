"""A profile from what a machine's own nvidia-smi says."""

from pathlib import Path

import pytest

from deployctl.errors import ProfileError
from deployctl.hardware import load_profile
from deployctl.hardware.found import new_profile, one_kind, slices_found
from deployctl.hardware.nvidia import Card
from deployctl.hardware.report import LARGEST, read_report

DATA = Path(__file__).parents[2] / "data" / "nvidia-smi"
A5000 = "rtx-a5000.xml"


def cards(name):
    return read_report((DATA / name).read_text(encoding="utf-8"), name)


def test_xml_says_what_a_profile_needs():
    [card] = cards(A5000)
    assert (card.name, card.architecture, card.driver) == (
        "NVIDIA RTX A5000",
        "Ampere",
        "590.44.01",
    )
    assert (card.usable_mib, card.memory_clock_mhz) == (22437 + 1678, 8001)
    assert (card.pcie_generation, card.pcie_lanes, card.mig, card.parts) == (4, 16, None, ())
    [card] = cards("rtx-pro-6000-max-q.xml")
    assert card.pcie_generation == 5  # the card's own; the slot of that machine has 4


def test_bandwidth_is_clock_times_width():
    found = new_profile(cards(A5000), {"compute_capability": "8.6"}, bus_bits=384)
    assert found.memory_bandwidth_gb_s == 768.1  # the data sheet says 768
    assert (
        found.sources["memory_bandwidth_gb_s"]
        == "8001 MHz (nvidia-smi), twice, on the 384 bits given"
    )
    assert (found.name, found.title) == ("rtx-a5000", "NVIDIA RTX A5000")
    assert found.memory_gib == 23.54
    assert found.interconnect.bandwidth_gb_s == 32
    assert not found.interconnect.peer_to_peer
    assert found.node_selector == {"nvidia.com/gpu.product": "NVIDIA-RTX-A5000"}
    assert (found.startups, found.max_per_host) == (0, 1)
    wider = new_profile(
        cards("rtx-pro-6000-max-q.xml"), {"compute_capability": "12.0"}, bus_bits=512
    )
    assert wider.memory_bandwidth_gb_s == pytest.approx(1792, abs=1)


def test_every_figure_says_where_it_comes_from():
    given = {"compute_capability": "8.6", "price_per_hour_usd": 0.4, "name": "mine"}
    found = new_profile(cards(A5000) * 2, given, bus_bits=384, peers=True)
    assert found.sources["price_per_hour_usd"] == found.sources["compute_capability"] == "given"
    assert found.sources["interconnect.peer_to_peer"] == "nvidia-smi topo -p2p r"
    assert found.interconnect.peer_to_peer
    assert (found.name, found.max_per_host, "name" in found.sources) == ("mine", 2, False)


@pytest.mark.parametrize(
    ("card", "given", "bus", "where", "hint"),
    [
        ({}, {}, 384, "compute_capability", "--set compute_capability=X.Y"),
        (
            {},
            {"compute_capability": "8.6"},
            None,
            "memory_bandwidth_gb_s",
            "--memory-bus-bits N, or",
        ),
        (
            {"memory_clock_mhz": None},
            {"compute_capability": "8.6"},
            384,
            "memory_bandwidth_gb_s",
            "data sheet: --set memory_bandwidth_gb_s=N",
        ),
        (
            {"memory_used_mib": None, "memory_total_mib": None, "memory_reserved_mib": None},
            {"compute_capability": "8.6"},
            384,
            "memory_gib",
            "--set memory_gib=N",
        ),
    ],
)
def test_what_nobody_said_is_asked_for(card, given, bus, where, hint):
    from dataclasses import replace

    [known] = cards(A5000)
    with pytest.raises(ProfileError, match="NVIDIA RTX A5000") as caught:
        new_profile([replace(known, **card)], given, bus_bits=bus)
    assert caught.value.where == where
    assert hint in caught.value.hint


def test_a_wrong_value_is_named():
    given = {"compute_capability": "8.6", "memory_gib": -1}
    with pytest.raises(ProfileError, match="greater than 0") as caught:
        new_profile(cards(A5000), given, bus_bits=384)
    assert caught.value.where == "--set memory_gib"


def test_memory_that_is_told_whole_alone_is_taken_for_less():
    [card] = cards("rtx5060ti.csv")
    found = new_profile([card], {"memory_bandwidth_gb_s": 448})
    assert found.name == "rtx5060ti"
    assert found.memory_gib == 15.02
    assert found.compute_capability == "12.0"
    assert "16311 MiB, less 0.9 GiB" in found.sources["memory_gib"]
    assert found.interconnect is None


def test_an_architecture_with_one_capability_says_it():
    card = Card(name="Tesla X", architecture="Turing", memory_total_mib=16000)
    found = new_profile([card], {"memory_bandwidth_gb_s": 300})
    assert (found.compute_capability, found.name) == ("7.5", "x")


def test_slices_are_recognized_by_their_size():
    assert slices_found(cards("a100-80gb-mig.xml"), load_profile("a100-80gb")) == (
        "a100-80gb:1g.20gb",
    )
    assert slices_found(cards(A5000), load_profile("a100-80gb")) == ()


def test_cards_of_several_kinds_are_chosen_from():
    both = (*cards(A5000), *cards("rtx4090-environment.csv"))
    with pytest.raises(ProfileError, match="several kinds: NVIDIA GeForce RTX 4090, NVIDIA RTX"):
        one_kind(both, None, "x")
    assert one_kind(both, "NVIDIA RTX A5000", "x") == cards(A5000)
    with pytest.raises(ProfileError, match="no card is called 'L4'") as caught:
        one_kind(both, "L4", "x")
    assert "NVIDIA RTX A5000" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "neither XML nor CSV"),
        ("NVIDIA L4, 23034 MiB", "neither XML nor CSV"),
        ("| NVIDIA-SMI 550.127.05   Driver Version: 550.127.05 |", "neither XML nor CSV"),
        ("index, memory.total [MiB]\n0, 8192 MiB\n", "does not say what the cards are"),
        ("No devices were found\n", "found no card: No devices were found"),
        ("<nvidia_smi_log><gpu>", "broken XML"),
        ("<html></html>", "neither XML nor CSV"),
        ("<nvidia_smi_log><gpu></gpu></nvidia_smi_log>", "does not say what the cards are"),
        ('<!DOCTYPE a [<!ENTITY b "cc">]><a>&b;</a>', "declares entities"),
        ("x" * (LARGEST + 1), "too long"),
    ],
)
def test_what_is_no_output_is_refused(text, message):
    with pytest.raises(ProfileError, match=message) as caught:
        read_report(text, "--from cards.txt")
    assert caught.value.where == "--from cards.txt"
