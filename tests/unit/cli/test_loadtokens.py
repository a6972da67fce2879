from deployctl.cli.loadtokens import vocabulary
from deployctl_loadtest.words import WORDS

HARD = {"government", "relationship", "furniture"}  # two tokens each


def tokens(text):
    return sum(2 if word in HARD else 1 for word in text.split())


def server(what):
    """Begins prompts with one token; its template adds 9, and 4 more for a system message."""
    if "prompt" in what:
        return 1 + tokens(what["prompt"])
    messages = what["messages"]
    return 9 + 4 * (len(messages) - 1) + sum(tokens(m["content"]) for m in messages)


def test_words_of_one_token_and_the_overheads_are_learned():
    found = vocabulary(server, lambda: 0.0)
    assert found.exact
    assert set(found.words) == set(WORDS) - HARD
    overheads = (found.prompt_overhead, found.chat_overhead, found.system_overhead)
    assert overheads == (1, 9, 4)


def test_a_server_that_does_not_tell_teaches_nothing():
    assert vocabulary(lambda _: None, lambda: 0.0) is None
    # A tokenizer that does not part words at spaces: their number says nothing.
    assert vocabulary(lambda what: 2 + len(what.get("prompt", "")) // 20, lambda: 0.0) is None


def test_a_template_without_a_system_role_is_fine():
    def plain(what):
        return None if len(what.get("messages", [1])) > 1 else server(what)

    assert vocabulary(plain, lambda: 0.0).chat_overhead == 9


def test_a_slow_server_is_not_waited_for():
    ticks = iter(range(10_000))
    found = vocabulary(server, lambda: next(ticks) / 10)
    assert found is not None
    assert len(found.words) < len(set(WORDS))
    ticks = iter(range(10_000))
    assert vocabulary(server, lambda: float(next(ticks))) is None
