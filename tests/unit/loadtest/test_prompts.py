import json
import re

import pytest

from deployctl_loadtest import replay, workload
from deployctl_loadtest.prompts import Prompts
from deployctl_loadtest.request import Target
from deployctl_loadtest.words import WORDS, Vocabulary

# As a tokenizer would have told: each word one token, 7 round a chat, 3 more for a system text.
EXACT = Vocabulary(words=WORDS, exact=True, prompt_overhead=1, chat_overhead=7, system_overhead=3)


def prompts(document=None, *, seed=1, api="chat", vocabulary=EXACT, folder=None, **target):
    load = workload.Workload()
    if document is not None:
        load = workload.parse(document, "w", folder)
    return Prompts(load, Target("m", api=api, **target), vocabulary, seed)


def body(made, number=0, replies=()):
    talk = made.conversation(number)
    return json.loads(talk.body(list(replies)) if replies else talk.first)


def said(made, number=0):
    return body(made, number)["messages"][-1]["content"]


def test_the_body_asks_for_a_stream_with_usage_and_a_fixed_length():
    chat = body(prompts({"input_tokens": 128, "output_tokens": 9}))
    assert chat["stream"] is True
    assert chat["stream_options"] == {"include_usage": True}
    assert chat["max_tokens"] == 9
    assert chat["ignore_eos"] is True
    assert chat["skip_special_tokens"] is False
    assert len(chat["messages"][0]["content"].split()) == 128 - 7
    plain = body(prompts({"input_tokens": 5}, api="completions", ignore_eos=False))
    assert len(plain["prompt"].split()) == 4
    assert plain["max_tokens"] == 64
    assert not {"ignore_eos", "skip_special_tokens", "messages"} & plain.keys()


def test_extra_fields_win_over_ours():
    made = body(prompts(extra={"temperature": 0.7, "top_p": 0.9}))
    assert (made["temperature"], made["top_p"]) == (0.7, 0.9)


def test_prompts_are_new_each_time_and_the_same_for_a_seed():
    made = prompts({"input_tokens": 5000})
    beginnings = {tuple(said(made, number).split()[:16]) for number in range(300)}
    assert len(beginnings) == 300  # no block of a prefix cache is met again
    assert said(prompts(seed=1), 3) == said(prompts(seed=1), 3)
    assert said(prompts(seed=1), 3) != said(prompts(seed=2), 3)


@pytest.mark.parametrize("tokens", [1, 8, 16, 17, 500, 40_000])
def test_a_text_has_as_many_words_as_asked_for(tokens):
    made = prompts({"input_tokens": tokens}, api="completions")
    assert len(body(made)["prompt"].split()) == max(1, tokens - 1)


def test_lengths_are_drawn_from_what_was_asked_for():
    even = prompts(
        {
            "input_tokens": {"distribution": "uniform", "min": 20, "max": 40},
            "output_tokens": {"distribution": "uniform", "min": 3, "max": 5},
        },
        api="completions",
    )
    bodies = [body(even, number) for number in range(400)]
    lengths = {len(b["prompt"].split()) + 1 for b in bodies}
    assert (min(lengths), max(lengths)) == (20, 40)
    assert {b["max_tokens"] for b in bodies} == {3, 4, 5}
    skewed = prompts(
        {
            "input_tokens": {
                "distribution": "lognormal", "median": 100, "sigma": 0.8, "min": 10, "max": 1000,
            },
        },
        api="completions",
    )  # fmt: skip
    lengths = sorted(len(body(skewed, n)["prompt"].split()) + 1 for n in range(2000))
    assert lengths[1000] == pytest.approx(100, rel=0.08)
    # One standard deviation of the logarithm: e^0.8 times the median.
    assert lengths[1683] == pytest.approx(222, rel=0.12)
    assert 10 <= lengths[0] < lengths[-1] <= 1000


def test_a_system_prompt_is_the_same_for_all():
    made = prompts({"input_tokens": 50, "system_tokens": 30})
    first, second = body(made, 0)["messages"], body(made, 1)["messages"]
    assert [m["role"] for m in first] == ["system", "user"]
    assert first[0] == second[0]
    assert first[1] != second[1]
    assert len(first[0]["content"].split()) == 30
    assert len(first[1]["content"].split()) == 50 - 7 - 3
    assert prompts({"input_tokens": 5, "system_tokens": 9}, seed=2)._system != made._system


def test_a_shared_prefix_is_hit_as_often_as_asked_for():
    made = prompts(
        {"input_tokens": 20, "shared_prefix": {"tokens": 40, "hit_ratio": 0.7, "count": 4}}
    )
    beginnings = [" ".join(said(made, number).split()[:40]) for number in range(2000)]
    counts = [beginnings.count(begin) for begin in set(beginnings)]
    common = [count for count in counts if count > 1]
    assert len(common) == 4
    assert sum(common) / 2000 == pytest.approx(0.7, abs=0.04)
    assert {len(said(made, number).split()) for number in range(20)} == {40 + 20 - 7}


def test_a_conversation_holds_all_that_was_said_before():
    made = prompts({"input_tokens": 12, "turns": 3, "system_tokens": 5})
    talk = made.conversation(0)
    assert len(talk.turns) == 3
    last = json.loads(talk.body(["first answer", "second answer"]))["messages"]
    assert [m["role"] for m in last] == [
        "system", "user", "assistant", "user", "assistant", "user",
    ]  # fmt: skip
    assert last[2]["content"] == "first answer"
    assert last[:2] == json.loads(talk.first)["messages"]
    plain = prompts({"input_tokens": 12, "turns": 2}, api="completions").conversation(0)
    assert json.loads(plain.body(["yes"]))["prompt"].startswith(
        json.loads(plain.first)["prompt"] + " yes "
    )


def test_recorded_prompts(tmp_path):
    (tmp_path / "p.txt").write_text("one\n\n two \nthree\n")
    made = prompts({"prompts": {"file": "p.txt"}}, folder=tmp_path)
    assert {said(made, number) for number in range(3)} == {"one", "two", "three"}
    assert said(made, 3) == said(made, 0)
    assert body(made)["max_tokens"] == 64
    (tmp_path / "p.jsonl").write_text('{"prompt": "a", "output_tokens": 7}\n{"prompt": "b"}\n')
    made = prompts({"prompts": {"file": "p.jsonl", "format": "jsonl"}}, folder=tmp_path)
    assert {(said(made, n), body(made, n)["max_tokens"]) for n in (0, 1)} == {("a", 7), ("b", 64)}
    talks = [
        {"conversations": [
            {"from": "human", "value": "hi"}, {"from": "gpt", "value": "x" * 40},
            {"from": "human", "value": "more"}, {"from": "gpt", "value": "y" * 400},
            {"from": "human", "value": "unanswered"},
        ]},
        {"conversations": [{"from": "gpt", "value": "nobody asked"}]},
        {"conversations": None},
    ]  # fmt: skip
    (tmp_path / "s.json").write_text(json.dumps(talks))
    made = prompts({"prompts": {"file": "s.json", "format": "sharegpt"}}, folder=tmp_path)
    talk = made.conversation(5)
    assert [turn.text for turn in talk.turns] == ["hi", "more"]
    assert [turn.output_tokens for turn in talk.turns] == [10, 100]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "a workload is a mapping"),
        ({}, "input_tokens: give this or prompts"),
        ({"input_tokens": 0}, "input_tokens: 0 is not a whole number"),
        ({"input_tokens": True}, "input_tokens: True"),
        ({"input_tokens": 5, "inputs": 3}, "inputs: unknown"),
        ({"input_tokens": {"distribution": "zipf"}}, "input_tokens.distribution"),
        ({"input_tokens": {"distribution": "uniform", "min": 3}}, "input_tokens.max: missing"),
        (
            {"input_tokens": {"distribution": "uniform", "min": 3, "max": 2}},
            "input_tokens.max: less than min",
        ),
        (
            {"input_tokens": {"distribution": "lognormal", "median": 3, "sigma": -1}},
            "input_tokens.sigma",
        ),
        ({"input_tokens": 5, "shared_prefix": {"tokens": 5, "hit_ratio": 2}}, "hit_ratio"),
        ({"input_tokens": 5, "shared_prefix": {"hit_ratio": 1}}, "shared_prefix.tokens"),
        ({"input_tokens": 5, "think_s": "long"}, "think_s"),
        ({"prompts": {"file": "absent.txt"}}, "absent.txt"),
        ({"prompts": {"file": "x", "format": "xml"}}, "prompts.format"),
        ({"prompts": {"file": "x"}, "turns": 2}, "turns: does not go with prompts"),
    ],
)
def test_what_is_wrong_with_a_workload_is_said_with_its_place(document, said, tmp_path):
    with pytest.raises(ValueError, match=re.escape(said)):
        workload.parse(document, "w", tmp_path)


def test_ours_can_all_be_used():
    assert workload.names() == [
        "chat", "fixed", "lognormal", "multi-turn", "shared-prefix", "uniform",
    ]  # fmt: skip
    for name in workload.names():
        made = Prompts(workload.load(name), Target("m"), Vocabulary(), 1)
        assert json.loads(made.conversation(0).first)["max_tokens"] > 0
    with pytest.raises(ValueError, match="there is no workload 'absent'"):
        workload.load("absent")


MOONCAKE = """
{"timestamp": 27482, "input_length": 700, "output_length": 52, "hash_ids": [46, 47]}
{"timestamp": 27482, "input_length": 1100, "output_length": 26, "hash_ids": [46, 47, 2353]}
{"timestamp": 30535, "input_length": 20, "output_length": 0, "hash_ids": [9]}
{"timestamp": 30535, "input_length": 10, "output_length": 3, "hash_ids": []}
"""
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
45,ChatGPT,472,18,490,Conversation log
5,ChatGPT,1087,230,1317,Conversation log
118,GPT-4,417,0,417,Conversation log
"""


def test_both_formats_of_traces_are_read():
    rows = replay.parse(MOONCAKE)
    assert [(r.at_s, r.input_tokens, r.output_tokens) for r in rows] == [
        (0, 700, 52), (0, 1100, 26), (pytest.approx(3.053), 10, 3),
    ]  # fmt: skip
    assert rows[1].blocks == (46, 47, 2353)
    rows = replay.parse(BURSTGPT)
    assert [(r.at_s, r.input_tokens, r.output_tokens) for r in rows] == [
        (0, 1087, 230), (40, 472, 18),
    ]  # fmt: skip


def test_blocks_that_a_trace_shares_are_the_same_words():
    first, second, third = replay.parse(MOONCAKE)
    made = prompts()
    texts = [
        json.loads(made.of_trace(n, row).first)["messages"][0]["content"].split()
        for n, row in enumerate((first, second, third))
    ]
    assert [len(text) for text in texts] == [693, 1093, 3]
    assert texts[0] == texts[1][:693]
    assert texts[2] != texts[0][:3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column"),
        ("a,b\n1,2\n", "no column 'Timestamp'"),
        ('{"timestamp": 1}', "line 1: no 'input_length'"),
        ('{"timestamp": "x", "input_length": 1, "output_length": 1}', "line 1"),
        ("Timestamp,Request tokens,Response tokens\n1,nan,2\n", "line 2"),
    ],
)
def test_what_is_no_trace_is_refused(text, said, tmp_path):
    file = tmp_path / "trace"
    file.write_text(text)
    with pytest.raises(ValueError, match=re.escape(said)):
        replay.load(str(file))
