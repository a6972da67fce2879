"""What is asked: conversations, and questions about long texts. The same seed, the same words; with
another tag no cache knows them."""

import random
from typing import NamedTuple

WORDS = (
    "archive ballast cinder dredge ember furrow gantry harbour inlet jetty kiln "
    "ledger mortar nettle orchard pulley quarry rafter sluice timber umber vessel "
    "wharf yarrow anchor barrel copper damson engine ferry granite hammer iron "
    "juniper kettle lantern meadow needle oar plank rope"
)


class Talk(NamedTuple):
    """A conversation: what comes before it, and what its user says, turn by turn."""

    system: str
    said: list[str]


def conversations(seed: int, tag: str, number: int) -> list[Talk]:
    """Of four turns each, with one short instruction for all, and a long first message."""
    words = random.Random(seed)
    turns = (220, 40, 40, 40)
    return [
        Talk("Answer in a few words.", [f"{tag} {_text(words, turn)}" for turn in turns])
        for _ in range(number)
    ]


def documents(seed: int, tag: str, number: int) -> list[Talk]:
    """Six questions about each of so many long texts, by as many users who ask nothing else."""
    words = random.Random(seed)
    texts = [f"{tag} {_text(words, 600)}" for _ in range(number)]
    asked = [Talk(text, [_text(words, 20)]) for text in texts for _ in range(6)]
    words.shuffle(asked)
    return asked


def _text(words: random.Random, number: int) -> str:
    return " ".join(words.choices(WORDS.split(), k=number))


KINDS = {"conversations": conversations, "documents": documents}
