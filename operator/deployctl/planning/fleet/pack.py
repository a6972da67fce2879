"""Which cards each service gets: an exact search, as there are few of both. Knows only numbers.

As few services as may be share a card, those of several cards last of all; then the fullest card is
as empty as may be; then lower numbers come first. So the same fleet is always placed alike.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

MOST_STEPS = 200_000  # of the search; the best until then counts
FEW_STEPS = 5_000  # of one for any placement: of many changes each is tried so
_SLACK_GIB = 1e-6


class CardRoom(NamedTuple):
    """What a service takes of each of its cards, in GiB: once it serves, and before at most."""

    footprint: float
    peak: float


@dataclass(frozen=True)
class Item:
    """A service to place."""

    name: str
    cards: int  # that it needs, all of one kind
    rooms: Mapping[str, CardRoom]  # by kind of card; those that it does not run on are missing
    pinned: tuple[int, ...] = ()  # the cards that it is to have


class Slot(NamedTuple):
    """A card: its kind, and the GiB that services may have."""

    kind: str
    gib: float


Placed = tuple[tuple[int, ...], ...]  # the cards of each item, in the order of the items
_Score = tuple[int, int, int, float, Placed]


def pack(items: Sequence[Item], slots: Sequence[Slot]) -> Placed | None:
    """The best placement, or None where there is none."""
    search = _Search(items, slots)
    search.run()
    return search.best[-1] if search.best else None


def can_be(items: Sequence[Item], slots: Sequence[Slot]) -> bool:
    """Whether a placement is found before long; the first will do."""
    search = _Search(items, slots, any_will_do=True)
    search.run()
    return search.best is not None


def free_gib(rooms: Sequence[CardRoom], gib: float) -> float:
    """What a card has left: beside all that serve, any one must be able to start again."""
    held = sum(room.footprint for room in rooms)
    return gib - held - max((room.peak - room.footprint for room in rooms), default=0.0)


class _Search:
    """Places the items one after the other, those with the least choice first."""

    def __init__(
        self, items: Sequence[Item], slots: Sequence[Slot], *, any_will_do: bool = False
    ) -> None:
        self.items, self.slots = items, slots
        self.any_will_do = any_will_do
        self.best: _Score | None = None
        self.steps = 0
        self.on: list[list[int]] = [[] for _ in slots]  # items on each card
        self.of: list[tuple[int, ...]] = [()] * len(items)
        self.order = sorted(range(len(items)), key=self._hardest)

    def _hardest(self, index: int) -> tuple[bool, int, float, int]:
        item = self.items[index]
        largest = max((room.footprint for room in item.rooms.values()), default=0.0)
        return (not item.pinned, -item.cards, -largest, index)

    def run(self, depth: int = 0) -> None:
        self.steps += 1
        if self.steps > (FEW_STEPS if self.any_will_do else MOST_STEPS):
            return
        if self.best and (self.any_will_do or self._sharing() > self.best[:2]):
            return
        if depth == len(self.items):
            score = self._score()
            if self.best is None or score < self.best:
                self.best = score
            return
        index = self.order[depth]
        for cards in self._options(index):
            for card in cards:
                self.on[card].append(index)
            self.of[index] = cards
            self.run(depth + 1)
            for card in cards:
                self.on[card].pop()

    def _options(self, index: int) -> Iterator[tuple[int, ...]]:
        """Groups of cards that have room; of groups that are alike the first."""
        item = self.items[index]
        if item.pinned:
            if all(self._holds(card, index) for card in item.pinned):
                yield item.pinned
            return
        able = [card for card in range(len(self.slots)) if self._holds(card, index)]
        seen = set()
        for cards in combinations(able, item.cards):
            if len({self.slots[card].kind for card in cards}) > 1:
                continue
            alike = (_aligned(cards), *sorted((self.slots[c], tuple(self.on[c])) for c in cards))
            if alike not in seen:
                seen.add(alike)
                yield cards

    def _holds(self, card: int, index: int) -> bool:
        slot = self.slots[card]
        if slot.kind not in self.items[index].rooms:
            return False
        rooms = [self.items[other].rooms[slot.kind] for other in (*self.on[card], index)]
        return free_gib(rooms, slot.gib) >= -_SLACK_GIB

    def _sharing(self) -> tuple[int, int]:
        """Pairs that share a card, of which one has several; and all that do."""
        pairs = [pair for there in self.on for pair in combinations(there, 2)]
        split = sum(max(self.items[a].cards, self.items[b].cards) > 1 for a, b in pairs)
        return split, len(pairs)

    def _score(self) -> _Score:
        apart = sum(not _aligned(cards) for cards in self.of)
        fullest = max(self._fullness(card) for card in range(len(self.slots)))
        return (*self._sharing(), apart, round(fullest, 9), tuple(self.of))

    def _fullness(self, card: int) -> float:
        slot = self.slots[card]
        held = sum(self.items[index].rooms[slot.kind].footprint for index in self.on[card])
        return held / slot.gib if slot.gib > 0 else 0.0


def _aligned(cards: tuple[int, ...]) -> bool:
    """Whether they are neighbours that begin at a multiple of their number: a pair has its NVLink
    bridge, four have their socket."""
    return cards[0] % len(cards) == 0 and cards[-1] - cards[0] == len(cards) - 1
