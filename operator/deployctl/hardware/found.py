"""A profile from what the driver says of a machine's own cards, and what it cannot say. Pure.

A card that a profile describes needs no other. Of any other the driver tells name, memory, compute
capability, the clock of its memory and its PCIe link; the width of the memory's bus it does not.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from deployctl import assets
from deployctl.errors import ProfileError
from deployctl.hardware.nvidia import Card
from deployctl.hardware.profiles import GpuProfile, slices_of
from deployctl.spec.load import complaint

_SAID = "nvidia-smi"
_ARCHITECTURES: dict[str, str] = assets.table("deploy", "hardware", "nvidia.yaml")["architectures"]
# GiB that the driver keeps of a card at most, where only the whole is told: 0.4 to 0.9 on the cards
# of the shipped profiles.
KEPT_GIB = 0.9


def one_kind(cards: Sequence[Card], wanted: str | None, where: str) -> tuple[Card, ...]:
    """The cards that are meant: all, or those of a name, where there are several kinds.

    Raises:
        ProfileError: cards of several kinds, or none of the wanted one.
    """
    names = sorted({card.name or "an unnamed card" for card in cards})
    if wanted is None and len(names) > 1:
        raise ProfileError(
            f"there are cards of several kinds: {', '.join(names)}",
            where=where,
            hint=f"choose one: --card '{names[0]}'",
        )
    chosen = tuple(card for card in cards if wanted in (None, card.name))
    if not chosen:
        raise ProfileError(
            f"no card is called {wanted!r}", where="--card", hint=f"there are: {', '.join(names)}"
        )
    return chosen


def new_profile(
    cards: Sequence[Card],
    given: Mapping[str, Any],
    *,
    bus_bits: int | None = None,
    peers: bool | None = None,
) -> GpuProfile:
    """Returns the profile of cards of one kind that no profile describes.

    `given` are fields that the user says and that win; `bus_bits` is the width of the memory's bus,
    which with its clock gives the bandwidth; `peers`, whether the cards reach each other, None
    where nobody asked.

    Raises:
        ProfileError: something that a plan needs is neither told nor given, or a value is wrong.
    """
    card = cards[0]
    said: dict[str, Any] = {
        "name": _short(card.name or ""),
        "title": card.name,
        "matches": [card.name],
        "max_per_host": max(1, len(cards)),
        "node_selector": {"nvidia.com/gpu.product": (card.name or "").replace(" ", "-")},
    }
    sources = {
        "max_per_host": f"{_SAID}, the cards that it found",
        "node_selector": "label of NVIDIA's GPU feature discovery",
    }
    for field, value, source in (
        ("memory_gib", *_memory(cards)),
        ("memory_total_mib", min(c.memory_total_mib or 0 for c in cards) or None, _SAID),
        ("compute_capability", *_capability(card)),
        ("memory_bandwidth_gb_s", *_bandwidth(card, bus_bits)),
        ("interconnect", *_link(card, peers)),
    ):
        if value is not None:
            said[field], sources[field] = value, source
    if "interconnect" in said:
        known = "nvidia-smi topo -p2p r" if peers is not None else "not asked, so not counted on"
        sources["interconnect.peer_to_peer"] = known
    for field, value in given.items():
        said[field], sources[field] = value, "given"
    _complete(said, bus_bits, card)
    words = ("name", "title", "matches", "aliases")
    said["sources"] = {field: text for field, text in sources.items() if field not in words}
    try:
        return GpuProfile.model_validate(said)
    except ValidationError as error:
        problem = error.errors()[0]
        where = "/".join(str(part) for part in problem["loc"])
        raise ProfileError(
            complaint(problem, "field"), where=f"--set {where}", hint="deploy/profiles/README.md"
        ) from error


def slices_found(cards: Sequence[Card], profile: GpuProfile) -> tuple[str, ...]:
    """The profiles of the MIG slices that the cards are cut into, each once."""
    found = []
    for part in (part for card in cards for part in card.parts):
        for sliced in slices_of(profile):
            size = (part.memory_mib or 0) / 1024
            same = part.multiprocessors == sliced.multiprocessors
            if same and abs(size - sliced.memory_gib) < 0.03 * sliced.memory_gib:
                found.append(sliced.name)
    return tuple(dict.fromkeys(found))


def _complete(said: Mapping[str, Any], bus_bits: int | None, card: Card) -> None:
    """Raises ProfileError for what a plan needs and nobody said."""
    if "memory_gib" not in said:
        raise ProfileError(
            f"the driver does not say how much memory {card.name} has",
            where="memory_gib",
            hint="--set memory_gib=N, in GiB, as torch.cuda.mem_get_info() tells it",
        )
    if "compute_capability" not in said:
        raise ProfileError(
            f"the output does not say which compute capability {card.name} has",
            where="compute_capability",
            hint="--set compute_capability=X.Y, from nvidia-smi --query-gpu=compute_cap",
        )
    if "memory_bandwidth_gb_s" not in said:
        clock = card.memory_clock_mhz
        lacks = "and the output not its clock either" if bus_bits and not clock else ""
        raise ProfileError(
            f"the driver does not say how wide the memory's bus of {card.name} is {lacks}".strip(),
            where="memory_bandwidth_gb_s",
            hint="look into its data sheet: "
            + ("--memory-bus-bits N, or " if clock else "")
            + "--set memory_bandwidth_gb_s=N",
        )


def _memory(cards: Sequence[Card]) -> tuple[float | None, str]:
    usable = [card.usable_mib for card in cards if card.usable_mib is not None]
    if usable:  # down, never up: a plan must not count on memory that is not there
        return math.floor(min(usable) / 10.24) / 100, f"{_SAID}, without what the driver keeps"
    totals = [card.memory_total_mib for card in cards if card.memory_total_mib]
    if totals:
        left = math.floor((min(totals) / 1024 - KEPT_GIB) * 100) / 100
        return left, f"{_SAID}: {min(totals)} MiB, less {KEPT_GIB} GiB that a driver may keep"
    return None, ""


def _capability(card: Card) -> tuple[str | None, str]:
    if card.compute_capability:
        return card.compute_capability, _SAID
    return _ARCHITECTURES.get(card.architecture or ""), f"{_SAID}: {card.architecture}"


def _bandwidth(card: Card, bus_bits: int | None) -> tuple[float | None, str]:
    """Both edges of the clock carry a bit: H100 2 × 2619 MHz × 5120 bits are its 3352 GB/s."""
    if not bus_bits or not card.memory_clock_mhz:
        return None, ""
    gb_s = round(2 * card.memory_clock_mhz * bus_bits / 8 / 1000, 1)
    return gb_s, f"{card.memory_clock_mhz} MHz ({_SAID}), twice, on the {bus_bits} bits given"


def _link(card: Card, peers: bool | None) -> tuple[dict[str, Any] | None, str]:
    """PCIe 3.0 moves 1 GB/s a lane in one direction, and each generation twice as much."""
    generation, lanes = card.pcie_generation, card.pcie_lanes or 16
    if not generation:
        return None, ""
    link = {
        "kind": "pcie",
        "pcie_generation": generation,
        "bandwidth_gb_s": lanes * 2.0 ** (generation - 3),
        "peer_to_peer": bool(peers),
    }
    return link, f"{_SAID}: PCIe {generation}.0 x{lanes}; NVLink is not looked for"


def _short(card_name: str) -> str:
    """`NVIDIA GeForce RTX 4080` as people write it: `rtx4080`; others with dashes."""
    words = [w for w in card_name.lower().split() if w not in ("nvidia", "geforce", "tesla", "gpu")]
    between = "" if "geforce" in card_name.lower() else "-"
    return re.sub(r"[^a-z0-9.]+", "-", between.join(words)).strip("-.") or "card"
