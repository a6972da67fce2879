"""What cards have left once each service has the least that it needs goes to their KV caches.

By turns: whoever would have the smallest multiple of its least KV cache gets one per cent more,
until its cards are full or it has what it would have alone. So all hold alike many times what is
asked for.
"""

from collections.abc import Sequence

from deployctl.planning.fleet.need import Need
from deployctl.planning.fleet.pack import CardRoom, Placed, Slot, free_gib
from deployctl.planning.fleet.taken import Taken

_LEAST_KV_GIB = 0.01  # of a model that has next to none, such as an embedding model


def divide(needs: Sequence[Need], placed: Placed, slots: Sequence[Slot]) -> list[int]:
    """The per cent of each service, on all its cards."""
    shares = [need.least for need in needs]
    growing = {index for index, need in enumerate(needs) if need.least < need.most}
    while growing:
        first = min(growing, key=lambda i: (_multiple(needs[i], shares[i] + 1), i))
        shares[first] += 1
        if not all(_room(card, needs, placed, slots, shares) for card in placed[first]):
            shares[first] -= 1
            growing.discard(first)
        elif shares[first] == needs[first].most:
            growing.discard(first)
    return shares


def taken_on(
    card: int, needs: Sequence[Need], placed: Placed, shares: Sequence[int]
) -> list[tuple[int, Taken]]:
    """The services on a card, by their index, and what each takes of it."""
    return [(i, needs[i].at(shares[i])) for i, cards in enumerate(placed) if card in cards]


def _room(
    card: int,
    needs: Sequence[Need],
    placed: Placed,
    slots: Sequence[Slot],
    shares: Sequence[int],
) -> bool:
    there = taken_on(card, needs, placed, shares)
    rooms = [CardRoom(taken.footprint, taken.peak) for _, taken in there]
    return all(taken.fits for _, taken in there) and free_gib(rooms, slots[card].gib) >= 0


def _multiple(need: Need, share: int) -> float:
    return need.at(share).kv_cache / max(_LEAST_KV_GIB, need.at(need.least).kv_cache)
