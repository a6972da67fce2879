"""Asks the server's tokenizer, before a load test, how to write prompts of an exact length.

vLLM has /tokenize, which applies the model's own tokenizer and chat template. Words that are
one token each, with and without a space before them, make a text whose tokens are its words:
nothing has to be tokenized while the test runs. Other servers have no such address; prompts
are then about as long as asked for, and the result says so.
"""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from deployctl.cli.endpoint import Endpoint

if TYPE_CHECKING:
    from deployctl_loadtest.words import Vocabulary

_PATIENCE_S = 10.0  # for all words; what was found until then is used
_LEAST = 60  # words: fewer would make prompts that resemble each other
Count = Callable[[dict[str, Any]], int | None]
_known: "dict[tuple[str, str], Vocabulary | None]" = {}


def learn(endpoint: Endpoint, model: str) -> "Vocabulary | None":
    """The vocabulary of a served model; None where the server does not tell."""
    key = (endpoint.url, model)
    if key not in _known:
        import httpx

        with httpx.Client(
            base_url=endpoint.url,
            headers=endpoint.sent(),
            timeout=_PATIENCE_S,
            trust_env=False,
            verify=endpoint.trust(),
        ) as client:

            def count(what: dict[str, Any]) -> int | None:
                try:
                    response = client.post("/tokenize", json={"model": model, **what})
                    found = response.json()["count"] if response.status_code == 200 else None
                except (httpx.HTTPError, ValueError, KeyError, TypeError):
                    return None
                return found if isinstance(found, int) else None

            _known[key] = vocabulary(count, time.monotonic)
    return _known[key]


def vocabulary(count: Count, clock: Callable[[], float]) -> "Vocabulary | None":
    """Works it out. `count` is the number of tokens of a prompt or of messages."""
    from deployctl_loadtest.words import WORDS, Vocabulary

    until = clock() + _PATIENCE_S
    counts: dict[str, int] = {}
    for word in dict.fromkeys(WORDS):
        found = count({"prompt": f"{word} {word}"})
        if found is None or clock() > until:
            break
        counts[word] = found
    if len(counts) < _LEAST:
        return None
    least = min(counts.values())  # two tokens, and those that the tokenizer begins with
    words = tuple(word for word, found in counts.items() if found == least)
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
    found = count({"messages": said})
    return None if found is None else found - len(roles)
