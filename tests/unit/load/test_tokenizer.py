import dataclasses
import json

import httpx
import pytest

from deployctl.endpoint import Endpoint
from deployctl.load.tokenizer import learn, vocabulary, with_answers
from deployctl_loadtest import promptfile, prompts
from deployctl_loadtest.request import Target
from deployctl_loadtest.result import Setup
from deployctl_loadtest.words import WORDS, Vocabulary
from deployctl_loadtest.workload import Workload

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


def conversations(count):
    """Each with two answers, of 3 and 5 words."""
    return tuple(
        promptfile.Record(
            (("hello", 99), ("and then", 99)),
            (f"it is {i}", f"it was {i} of all"),
        )
        for i in range(count)
    )


def counted(records, asked, clock, known=None):
    def count(what):
        assert what["add_special_tokens"] is False  # an answer begins with none
        return len(what["prompt"].split())

    return with_answers(Vocabulary(), records, asked, {} if known is None else known, count, clock)


def test_answers_are_as_long_as_the_recorded_ones_by_the_models_tokenizer():
    records = conversations(4)
    found = counted(records, prompts.order(4, 7), lambda: 0.0)
    assert found.counted_first is None
    assert found.answers == {str(i): [3, 5] for i in range(4)}
    made = prompts.Prompts(Workload(output_tokens=None, records=records), Target("m"), found, 7)
    for number in range(9):  # and again from the beginning
        assert [turn.output_tokens for turn in made.conversation(number).turns] == [3, 5]


def test_answers_that_no_time_was_left_for_are_estimated_by_the_others():
    records, asked = conversations(50), prompts.order(50, 7)
    ticks = iter(range(1000))
    found = counted(records, asked, lambda: float(next(ticks)))
    assert 0 < found.counted_first == len(found.answers) < 50
    assert set(found.answers) == {str(i) for i in asked[: found.counted_first]}
    made = prompts.Prompts(Workload(output_tokens=None, records=records), Target("m"), found, 7)
    assert made.conversation(0).turns[0].output_tokens == 3
    # An answer of 99 tokens at 4 characters each, at about 3 characters each.
    assert found.characters_a_token == pytest.approx(2.9, abs=0.4)
    scaled = made.conversation(found.counted_first).turns[0].output_tokens
    assert scaled == round(99 * 4 / found.characters_a_token)
    # What was counted once is not asked for again, whatever the order.
    more = counted(records, prompts.order(50, 8), lambda: 0.0, dict(found.answers))
    assert more.counted_first is None
    assert dataclasses.replace(found, answers={}) != more


def test_a_file_that_says_how_many_tokens_it_wants_is_taken_at_its_word():
    records = (promptfile.Record((("hello", 90),)),)
    known = Vocabulary(characters_a_token=2.0)
    made = prompts.Prompts(Workload(output_tokens=None, records=records), Target("m"), known, 1)
    assert made.conversation(0).turns[0].output_tokens == 90


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "wants the operator's token"), (403, "is refused"), (404, "has no /tokenize")],
)
def test_that_the_tokenizer_is_refused_is_said_once(monkeypatch, status, said):
    refusal = lambda *_: httpx.Response(status)  # noqa: E731
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", refusal)
    told = []
    endpoint = Endpoint(f"http://refuses-with-{status}:1", "m", "a-client-s")
    setup = Setup(None, endpoint.url, "m", "chat", 2, 10, 5, 10, 5, True, 1, 60)
    for _ in range(2):  # as in a sweep
        assert learn(endpoint, setup, told.append) is None
    (note,) = told
    assert note.kind == "note"
    assert "approximate" in note.text
    assert said in note.text


def test_whoever_may_ask_the_tokenizer_says_nothing(monkeypatch):
    def tells(_, request):
        assert request.headers["authorization"] == "Bearer the-operator-s"
        return httpx.Response(200, json={"count": server(json.loads(request.content))})

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", tells)
    told = []
    endpoint = Endpoint("http://lets-in:1", "m", "a-client-s", operator_token="the-operator-s")
    setup = Setup(None, endpoint.url, "m", "chat", 2, 10, 5, 10, 5, True, 1, 60)
    assert learn(endpoint, setup, told.append).exact
    assert told == []
