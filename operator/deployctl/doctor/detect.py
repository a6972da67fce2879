"""Which cards are here, as nvidia-smi says, and which profile describes this machine.

That is `--gpu auto`, and the host's own memory for `cpu`.
"""

import difflib
import math
import os
import re
from collections.abc import Collection, Mapping, Sequence

from deployctl.doctor.facts import Gpus
from deployctl.doctor.shell import Ran, Run, run
from deployctl.errors import ProfileError
from deployctl.hardware import GpuProfile, all_profiles, nvidia, own_profiles, slices_of
from deployctl.hardware.nvidia import Card

TIMEOUT_S = 12.0  # without persistence mode, eight cards take some seconds to wake
_WHERE = "--gpu auto"
_CPU_HINT = "--gpu cpu serves without a GPU; --gpu l4 (or another) plans for a GPU that is not here"


def ask_gpus(run: Run = run, *, thorough: bool = True) -> Gpus:
    """Returns the cards, whether they reach each other and, when `thorough`, who uses them."""
    answer = _query(run, nvidia.CARD_FIELDS)
    if nvidia.read_failure(answer.text, answer.code or 0) == "bad_field":
        answer = _query(run, nvidia.OLD_CARD_FIELDS)
    if answer.code is None:
        return Gpus("hang" if answer.hung else "missing", answer.err)
    failure = nvidia.read_failure(answer.text, answer.code)
    cards = nvidia.read_cards(answer.out)
    lost = nvidia.read_lost(answer.text)
    if failure and not cards:
        return Gpus(failure, answer.lines[0].strip(), lost=lost)
    peers = run(["nvidia-smi", "topo", "-p2p", "r"], 6) if len(cards) > 1 else Ran(0)
    query = ["nvidia-smi", f"--query-compute-apps={','.join(nvidia.APP_FIELDS)}", "--format=csv"]
    apps = run(query, 6) if thorough else Ran(0)
    return Gpus(None, "", cards, nvidia.read_apps(apps.out), lost, nvidia.read_matrix(peers.out))


def taken_gib(pids: Collection[int], numbers: Collection[int], run: Run = run) -> float:
    """The GiB that processes have of each of these cards, at least; 0.0 where the driver does not
    tell, or has them in slices."""
    gpus = ask_gpus(run) if pids else Gpus()
    cards = {card.index: card.uuid for card in gpus.cards if card.uuid and not card.mig}
    ours = [app for app in gpus.apps if app.pid in pids and app.memory_mib is not None]
    of_each = [
        sum(app.memory_mib or 0 for app in ours if app.gpu_uuid == cards[number])
        if number in cards
        else 0
        for number in numbers
    ]
    return min(of_each, default=0) / 1024


def ask_for_profile(run: Run = run) -> tuple[tuple[Card, ...], bool | None]:
    """Returns the cards with what a profile says of them, and whether they reach each other: None
    where there is one, or nobody can tell.

    Raises:
        ProfileError: there is no card, or no driver that answers.
    """
    answer = _query(run, nvidia.PROFILE_FIELDS)
    if nvidia.read_failure(answer.text, answer.code or 0) == "bad_field":
        answer = _query(run, nvidia.OLD_CARD_FIELDS)
    cards = nvidia.read_cards(answer.out)
    failure = nvidia.read_failure(answer.text, answer.code or 0)
    if answer.code is None:
        failure = "hang" if answer.hung else "missing"
    if failure and not cards:
        raise ProfileError(
            nvidia.FAILURES[failure]["says"],
            where="nvidia-smi",
            hint="where the card is: nvidia-smi -q -x > cards.xml; here: --from cards.xml",
        )
    peers = run(["nvidia-smi", "topo", "-p2p", "r"], 6) if len(cards) > 1 else Ran(0)
    cells = nvidia.read_matrix(peers.out).values()
    return cards, all(cell == "OK" for cell in cells) if cells else None


def _query(run: Run, fields: tuple[str, ...]) -> Ran:
    return run(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv"], TIMEOUT_S)


def detect_profile(run: Run = run, environ: Mapping[str, str] = os.environ) -> GpuProfile:
    """Returns the profile of the cards found, with what their driver says of them.

    That is their memory, and whether they may write to each other: a virtual machine may forbid
    what the card can do.

    Cards that CUDA_VISIBLE_DEVICES hides are not looked at.

    Raises:
        ProfileError: no card, cards of several kinds, or a card without a profile.
    """
    gpus = ask_gpus(run, thorough=False)
    if gpus.failure:
        complaint = f": {gpus.complaint}" if gpus.failure == "other" else ""
        raise ProfileError(
            nvidia.FAILURES[gpus.failure]["says"] + complaint, where=_WHERE, hint=_CPU_HINT
        )
    cards = visible(gpus.cards, environ)
    profile = _profile_of(cards)
    measured: dict[str, object] = {}
    usable = [card.usable_mib for card in cards if card.usable_mib is not None]
    if usable:
        # Down, never up: a plan must not count on memory that is not there.
        measured["memory_gib"] = math.floor(min(usable) / 10.24) / 100
    numbers = {card.index for card in cards}
    pairs = [cell for pair, cell in gpus.peers.items() if numbers.issuperset(pair)]
    if pairs and profile.interconnect is not None:
        reach = all(cell == "OK" for cell in pairs)
        measured["interconnect"] = profile.interconnect.model_copy(update={"peer_to_peer": reach})
    return profile.model_copy(update=measured)


def _profile_of(cards: Sequence[Card]) -> GpuProfile:
    """The shipped profile of cards that are all of one kind."""
    if not cards:
        raise ProfileError(
            "no card is visible", where=_WHERE, hint=f"check CUDA_VISIBLE_DEVICES; {_CPU_HINT}"
        )
    names = sorted({card.name or "an unnamed card" for card in cards})
    if len(names) > 1:
        raise ProfileError(
            f"there are cards of several kinds: {', '.join(names)}",
            where=_WHERE,
            hint="choose with CUDA_VISIBLE_DEVICES, or name one kind with --gpu",
        )
    if any(card.mig for card in cards):
        raise ProfileError(
            f"{names[0]} is partitioned (MIG is on), and a service runs on one slice",
            where=_WHERE,
            hint=_slices(names[0]),
        )
    profile = match(names[0])
    if profile is None:
        near = nearest(names[0])
        raise ProfileError(
            f"there is no profile for {names[0]}",
            where=_WHERE,
            hint=f"deployctl profiles add makes one; the nearest is {near.name}",
        )
    return profile


def _slices(card_name: str) -> str:
    """What to name where MIG is on."""
    profile = match(card_name)
    known = ", ".join(part.name for part in slices_of(profile)) if profile else ""
    off = "sudo nvidia-smi -mig 0 turns it off"
    return f"name the slice with --gpu: {known}; or {off}" if known else off


def match(card_name: str) -> GpuProfile | None:
    """The profile whose `matches` has this name, the user's own first."""
    every = (*own_profiles(), *all_profiles())
    return next((p for p in every if card_name in p.matches), None)


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
        named = [c for c in cards if _is(c, word)]
        if not named:
            break  # as CUDA does: whatever follows a wrong entry is hidden too
        chosen += named
    return chosen


def _is(card: Card, word: str) -> bool:
    if re.fullmatch(r"\d{1,4}", word):
        return card.index == int(word)
    return bool(word) and (card.uuid or "").startswith(word)


def with_memory(profile: GpuProfile, gib: float | None) -> GpuProfile:
    """The CPU profile with a host's memory instead of the file's, where that is known."""
    if gib is None:
        return profile
    return profile.model_copy(update={"memory_gib": math.floor(gib * 100) / 100})
