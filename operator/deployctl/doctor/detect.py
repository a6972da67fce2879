"""Which profile describes this machine: `--gpu auto`, and the host's own memory for `cpu`."""

import difflib
import math
import os
import re
from collections.abc import Mapping, Sequence

from deployctl import host
from deployctl.doctor.facts import Gpus
from deployctl.doctor.gpu_probe import ask_gpus
from deployctl.doctor.shell import Run, run
from deployctl.errors import ProfileError
from deployctl.hardware import GpuProfile, all_profiles
from deployctl.hardware.nvidia_smi import Card, Failure

_CPU_HINT = "--gpu cpu serves without a GPU; --gpu l4 (or another) plans for a card not in here"

SAID: dict[Failure, str] = {
    "missing": "nvidia-smi is not installed, so there is no NVIDIA driver here",
    "no_driver": "nvidia-smi cannot reach the NVIDIA driver",
    "no_devices": "the NVIDIA driver sees no card",
    "mismatch": "the NVIDIA driver was updated and the old one is still loaded",
    "permission": "this user may not ask the NVIDIA driver",
    "hang": "nvidia-smi does not answer",
    "bad_field": "this NVIDIA driver is too old to be asked",
    "other": "nvidia-smi failed",
}


def detect_profile(
    run: Run = run, environ: Mapping[str, str] = os.environ, where: str = "--gpu auto"
) -> GpuProfile:
    """Returns the profile of the cards found, with what their driver says of them.

    That is their memory, and whether they may write to each other: a virtual machine may forbid
    what the card can do.

    Cards that CUDA_VISIBLE_DEVICES hides are not looked at.

    Raises:
        ProfileError: no card, cards of several kinds, or a card without a profile.
    """
    return profile_of(ask_gpus(run, thorough=False), environ, where)


def profile_of(gpus: Gpus, environ: Mapping[str, str], where: str) -> GpuProfile:
    """Returns the profile of cards already asked.

    Raises:
        ProfileError: as `detect_profile`.
    """
    if gpus.failure:
        complaint = f": {gpus.complaint}" if gpus.failure == "other" else ""
        raise ProfileError(SAID[gpus.failure] + complaint, where=where, hint=_CPU_HINT)
    cards = visible(gpus.cards, environ)
    if not cards:
        raise ProfileError(
            "no card is visible", where=where, hint=f"check CUDA_VISIBLE_DEVICES; {_CPU_HINT}"
        )
    names = sorted({card.name or "a card without a name" for card in cards})
    if len(names) > 1:
        raise ProfileError(
            f"there are cards of several kinds: {', '.join(names)}",
            where=where,
            hint="choose with CUDA_VISIBLE_DEVICES, or name one kind with --gpu",
        )
    if any(card.mig for card in cards):
        raise ProfileError(
            f"{names[0]} is partitioned (MIG is on); no profile describes a slice",
            where=where,
            hint="sudo nvidia-smi -mig 0 turns it off; or write a profile of the slice",
        )
    profile = match(names[0])
    if profile is None:
        near = nearest(names[0])
        raise ProfileError(
            f"there is no profile for {names[0]}",
            where=where,
            hint=f"copy {near.name}.yaml, correct it, and give its path: --gpu my-card.yaml",
        )
    found: dict[str, object] = {}
    usable = [card.usable_mib for card in cards if card.usable_mib is not None]
    if usable:
        # Down, never up: a plan must not count on memory that is not there.
        found["memory_gib"] = math.floor(min(usable) / 10.24) / 100
    numbers = {card.index for card in cards}
    pairs = [cell for pair, cell in gpus.peers.items() if numbers.issuperset(pair)]
    if pairs and profile.interconnect is not None:
        reach = all(cell == "OK" for cell in pairs)
        found["interconnect"] = profile.interconnect.model_copy(update={"peer_to_peer": reach})
    return profile.model_copy(update=found)


def match(card_name: str) -> GpuProfile | None:
    """The profile whose `matches` has this name."""
    return next((p for p in all_profiles() if card_name in p.matches), None)


def nearest(card_name: str) -> GpuProfile:
    """The GPU profile whose names are most like this one."""
    gpus = [p for p in all_profiles() if p.kind == "cuda"]

    def likeness(profile: GpuProfile) -> float:
        names = (*profile.matches, profile.title)
        return max(difflib.SequenceMatcher(None, card_name, n).ratio() for n in names)

    return max(gpus, key=likeness)


def visible(cards: Sequence[Card], environ: Mapping[str, str]) -> list[Card]:
    """The cards that CUDA_VISIBLE_DEVICES leaves, in its order; all when it is unset."""
    setting = environ.get("CUDA_VISIBLE_DEVICES")
    if setting is None:
        return list(cards)
    chosen = []
    for word in (part.strip() for part in setting.split(",")):
        found = [c for c in cards if _is(c, word)]
        if not found:
            break  # as CUDA does: whatever follows a wrong entry is hidden too
        chosen += found
    return chosen


def _is(card: Card, word: str) -> bool:
    if re.fullmatch(r"\d+", word):
        return card.index == int(word)
    return bool(word) and (card.uuid or "").startswith(word)


def for_this_host(profile: GpuProfile) -> GpuProfile:
    """The CPU profile with this host's memory instead of the file's; others as they are."""
    memory = host.memory() if profile.kind == "cpu" else None
    if memory is None:
        return profile
    return profile.model_copy(update={"memory_gib": math.floor(memory.total_gib * 100) / 100})
