"""Asks the server's tokenizer, before a load test, how to write prompts of an exact length.

vLLM has /tokenize, which applies the model's own tokenizer and chat template. Words that are
one token each, with and without a space before them, make a text whose tokens are its words:
nothing has to be tokenized while the test runs. Of recorded conversations the answers are
counted, in the order in which they will be asked, as far as that goes in a few seconds. Other
servers have no such address, and a door wants the operator's token for it; lengths are then about
what was asked for, and the result says so.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from deployctl.endpoint import Endpoint
from deployctl.events import Event, Tell, silent
from deployctl_loadtest import foreign, prompts, workload
from deployctl_loadtest.promptfile import Record
from deployctl_loadtest.result import Setup
from deployctl_loadtest.words import WORDS, Vocabulary

_TIMEOUT_S = 10.0  # for all words; what was found until then is used
_LEAST = 60  # words: fewer would make prompts that resemble each other
_WHY_NOT = {
    401: "/tokenize wants the operator's token (HTTP 401): --operator-token-file has it",
    403: "/tokenize is refused (HTTP 403): --operator-token-file has the operator's token",
    404: "the server has no /tokenize (HTTP 404)",
}
Count = Callable[[dict[str, Any]], int | None]
_known: dict[tuple[str, str], Vocabulary | None] = {}
_counted: dict[tuple[str, str, str], dict[str, list[int]]] = {}  # of a model and a workload


def learn(endpoint: Endpoint, setup: Setup, tell: Tell = silent) -> Vocabulary | None:
    """The vocabulary of a served model; None where the server has no /tokenize, or lets us not
    ask it, which is told."""
    statuses: list[int] = []
    with _counter(endpoint, setup.model, statuses) as count:
        key = (endpoint.url, setup.model)
        if key not in _known:
            _known[key] = vocabulary(count, time.monotonic)
            if statuses and (why := _WHY_NOT.get(statuses[-1])):
                tell(Event("note", f"lengths of prompts are approximate: {why}"))
        words = _known[key]
        if words is None or setup.recorded_lengths is None:
            return words
        records = workload.load(setup.workload).records
        asked = prompts.order(len(records), setup.seed)[: setup.requests]
        known = _counted.setdefault((*key, setup.workload), {})
        return with_answers(words, records, asked, known, count, time.monotonic)


@contextmanager
def _counter(endpoint: Endpoint, model: str, statuses: list[int]) -> Iterator[Count]:
    """Counts tokens; adds each answer's HTTP status to `statuses`."""
    import httpx

    from deployctl import web

    until = time.monotonic() + 2 * _TIMEOUT_S  # for words and answers, and no drip is longer
    with web.client(endpoint, _TIMEOUT_S) as client:

        def count(what: dict[str, Any]) -> int | None:
            left = min(_TIMEOUT_S, until - time.monotonic())
            if left <= 0:
                return None
            try:
                asked = {"model": model, **what}
                response = client.post("/tokenize", json=asked, timeout=left)
                statuses.append(response.status_code)
                if response.status_code != 200:
                    return None
                return foreign.count(foreign.document(response.content)["count"])
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
                return None

        yield count


def with_answers(
    known: Vocabulary,
    records: Sequence[Record],
    asked: Sequence[int],
    counted: dict[str, list[int]],
    count: Count,
    clock: Callable[[], float],
) -> Vocabulary:
    """Adds how many tokens recorded answers have. `counted` is what was counted before, and
    grows; `asked` are places in `records`, in the order of asking."""
    until = clock() + _TIMEOUT_S
    first: int | None = None
    for number, index in enumerate(asked):
        if str(index) in counted:
            continue
        tokens = [
            count({"prompt": text, "add_special_tokens": False}) for text in records[index].answers
        ]
        if any(one is None for one in tokens) or clock() > until:
            first = number
            break
        counted[str(index)] = [max(1, one or 0) for one in tokens]
    total = sum(sum(tokens) for tokens in counted.values())
    characters = sum(len(text) for index in counted for text in records[int(index)].answers)
    return dataclasses.replace(
        known,
        answers=counted,
        characters_a_token=characters / total if total else None,
        counted_first=first,
    )


def vocabulary(count: Count, clock: Callable[[], float]) -> Vocabulary | None:
    """Works it out. `count` is the number of tokens of a prompt or of messages."""
    until = clock() + _TIMEOUT_S
    counts: dict[str, int] = {}
    for word in dict.fromkeys(WORDS):
        tokens = count({"prompt": f"{word} {word}"})
        if tokens is None or clock() > until:
            break
        counts[word] = tokens
    if len(counts) < _LEAST:
        return None
    least = min(counts.values())  # two tokens, and those that the tokenizer begins with
    words = tuple(word for word, tokens in counts.items() if tokens == least)
    if least < 2 or len(words) < _LEAST:
        return None
    chat = _overhead(count, words, ["user"])
    system = _overhead(count, words, ["system", "user"])
    default = Vocabulary()
    more = default.system_overhead if chat is None or system is None else system - chat
    learned = Vocabulary(
        words=words,
        exact=True,
        prompt_overhead=least - 2,
        chat_overhead=default.chat_overhead if chat is None else chat,
        system_overhead=more,
    )
    sample = " ".join(words[:_LEAST])
    if count({"prompt": sample}) != _LEAST + learned.prompt_overhead:
        return None  # words are not told apart by spaces here
    return learned


def _overhead(count: Count, words: Sequence[str], roles: Sequence[str]) -> int | None:
    """What the chat template adds to messages of one word each."""
    said = [{"role": role, "content": words[0]} for role in roles]
    tokens = count({"messages": said})
    return None if tokens is None else tokens - len(roles)
