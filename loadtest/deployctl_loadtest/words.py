"""Text of plain words: as many tokens as asked for, and never the same twice.

A common English word with its space is one token in most vocabularies, so a text of n words
is about n tokens. Where the server's tokenizer was asked before the run, only words that are
one token are used, and the number is exact; nothing is tokenized while it runs.
"""

import dataclasses
import json
import random
from pathlib import Path

_TEXT = """
time year people way day man thing woman life child world school state family student group
country problem hand part place case week company system program question work government number
night point home water room mother area money story fact month lot right study book eye job word
business issue side kind head house service friend father power hour game line end member law car
city community name president team minute idea body information back parent face others level
office door health person art war history party result change morning reason research girl guy
moment air teacher force education foot boy age policy music market sense nation plan college
interest death experience effect use class control field development role effort rate heart drug
show leader light voice wife police mind price report decision son view relationship town road arm
difference value building action season society tax director position player record paper space
ground form event official matter center couple site project activity star table need court oil
situation cost industry figure street image phone data picture practice piece land product doctor
wall patient worker news test movie north love support technology step baby computer type
attention film tree source red nothing seven green blue early young small large next great high
old long little own other new good
"""
WORDS = tuple(_TEXT.split())

_CORPUS = 1 << 15  # words
_NEW = 16  # so many words at the beginning make a text a new one, whatever follows


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The words to use, and the tokens that a chat template adds."""

    words: tuple[str, ...] = WORDS
    exact: bool = False  # each word is one token, and the overheads are measured
    prompt_overhead: int = 0  # of a prompt for completions: a token for its beginning
    chat_overhead: int = 20  # of one user message: role markers, default system prompt
    system_overhead: int = 5  # more, for a system message of one's own; below 0 if it takes
    # the place of a default one
    # Of a file of recorded conversations: the tokens of each answer, by the conversation's place
    # in the file; and for those that were not counted, what the counted ones had on average.
    answers: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    characters_a_token: float | None = None
    counted_first: int | None = 0  # conversations asked first that are counted; None: all are

    @classmethod
    def load(cls, path: str) -> "Vocabulary":
        """Reads one that `save` wrote; the default for no path."""
        if not path:
            return cls()
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls(**{**values, "words": tuple(values["words"])})

    def save(self, path: Path) -> None:
        """Writes it as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")


class Texts:
    """Makes texts. Quick: long ones are cut from a corpus that is made once."""

    def __init__(self, vocabulary: Vocabulary, seed: str) -> None:
        self._words = vocabulary.words
        draw = random.Random(f"{seed}/corpus")  # noqa: S311 - no secret
        self._corpus = draw.choices(self._words, k=_CORPUS)

    def make(self, tokens: int, seed: str) -> str:
        """A text of `tokens` words, at least one; the same seed gives the same text."""
        draw = random.Random(seed)  # noqa: S311 - no secret
        count = max(1, tokens)
        words = draw.choices(self._words, k=min(count, _NEW))
        at = draw.randrange(_CORPUS)
        while len(words) < count:
            words += self._corpus[at : at + count - len(words)]
            at = 0
        return " ".join(words)
