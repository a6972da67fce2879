"""Makes the conversations of a workload: what request `number` says, turn by turn. Pure.

The same seed and number give the same words, whichever process asks, and no two numbers have
a beginning in common unless the workload says so.
"""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from deployctl_loadtest.promptfile import CHARACTERS_A_TOKEN
from deployctl_loadtest.replay import BLOCK_TOKENS, Row
from deployctl_loadtest.request import Target
from deployctl_loadtest.words import Texts, Vocabulary
from deployctl_loadtest.workload import OUTPUT_TOKENS, Workload


class Turn(NamedTuple):
    """What the user says, and how long the answer may be, in tokens."""

    text: str
    output_tokens: int


class Conversation:
    """The turns of one user; each is sent with all that was said before."""

    def __init__(self, target: Target, system: str, turns: Sequence[Turn], think_s: float) -> None:
        self._target = target
        self._system = system
        self.turns = turns
        self.think_s = think_s
        self.first = self.body([])  # made before it is due

    def body(self, replies: Sequence[str]) -> bytes:
        """The request of the turn that follows these answers."""
        turn = self.turns[len(replies)]
        if self._target.api == "completions":
            said = [self._system] if self._system else []
            for earlier, reply in zip(self.turns, replies, strict=False):
                said += [earlier.text, reply]
            return self._target.completion(" ".join([*said, turn.text]), turn.output_tokens)
        messages: list[dict[str, Any]] = []
        if self._system:
            messages.append({"role": "system", "content": self._system})
        for earlier, reply in zip(self.turns, replies, strict=False):
            messages.append({"role": "user", "content": earlier.text})
            messages.append({"role": "assistant", "content": reply})
        messages.append({"role": "user", "content": turn.text})
        return self._target.chat(messages, turn.output_tokens)


def order(count: int, seed: int) -> list[int]:
    """In which order a run asks the recorded conversations of a file."""
    indices = list(range(count))
    random.Random(f"{seed}/order").shuffle(indices)  # noqa: S311 - no secret
    return indices


class Prompts:
    """Makes conversations by their number in the run."""

    def __init__(
        self, workload: Workload, target: Target, vocabulary: Vocabulary, seed: int
    ) -> None:
        self._workload = workload
        self._target = target
        self._seed = seed
        self._texts = Texts(vocabulary, str(seed))
        self._system = ""
        overhead = vocabulary.prompt_overhead
        if target.api == "chat":
            overhead = vocabulary.chat_overhead
            overhead += vocabulary.system_overhead if workload.system_tokens else 0
        self._overhead = overhead
        if workload.system_tokens:
            self._system = self._texts.make(workload.system_tokens, f"{seed}/system")
        if prefix := workload.shared_prefix:
            self._shared = [
                self._texts.make(prefix.tokens, f"{seed}/prefix/{index}")
                for index in range(prefix.count)
            ]
        self._order = order(len(workload.records), seed)
        self._answers = vocabulary.answers
        self._scale = CHARACTERS_A_TOKEN / (vocabulary.characters_a_token or CHARACTERS_A_TOKEN)

    def conversation(self, number: int) -> Conversation:
        """Conversation `number` of the run, from 0."""
        workload = self._workload
        seed = f"{self._seed}/{number}"
        draw = random.Random(seed)  # noqa: S311 - no secret
        if workload.records:
            turns = self._recorded(number, draw)
        else:
            turns = [
                self._turn(draw, f"{seed}/{index}", index)
                for index in range(workload.turns.draw(draw))
            ]
        return Conversation(self._target, self._system, turns, workload.think_s)

    def of_trace(self, number: int, row: Row) -> Conversation:
        """A row's request. Blocks that rows have in common are the same words."""
        seed = f"{self._seed}/{number}"
        count = max(1, row.input_tokens - self._overhead)
        parts: list[str] = []
        for block in row.blocks:
            if count <= 0:
                break
            size = min(count, BLOCK_TOKENS)
            words = self._texts.make(BLOCK_TOKENS, f"{self._seed}/block/{block}").split()
            parts.append(" ".join(words[:size]))
            count -= size
        if count > 0:
            parts.append(self._texts.make(count, seed))
        return Conversation(self._target, "", [Turn(" ".join(parts), row.output_tokens)], 0.0)

    def _turn(self, draw: random.Random, seed: str, index: int) -> Turn:
        workload = self._workload
        length = workload.input_tokens.draw(draw) - (self._overhead if index == 0 else 0)
        text = self._texts.make(length, seed)
        prefix = workload.shared_prefix
        if prefix is not None and index == 0:
            if draw.random() < prefix.hit_ratio:
                begin = draw.choice(self._shared)
            else:
                begin = self._texts.make(prefix.tokens, f"{seed}/prefix")
            text = f"{begin} {text}"
        assert workload.output_tokens is not None
        return Turn(text, workload.output_tokens.draw(draw))

    def _recorded(self, number: int, draw: random.Random) -> list[Turn]:
        index = self._order[number % len(self._order)]
        record = self._workload.records[index]
        if lengths := self._workload.output_tokens:
            return [Turn(text, lengths.draw(draw)) for text, _ in record.turns]
        counted = self._answers.get(str(index))
        if counted is not None and len(counted) == len(record.turns):
            return [Turn(text, n) for (text, _), n in zip(record.turns, counted, strict=True)]
        # A file that says how many tokens it wants is taken at its word.
        scale = self._scale if record.answers else 1.0
        return [
            Turn(text, max(1, round(tokens * scale)) if tokens else OUTPUT_TOKENS)
            for text, tokens in record.turns
        ]
