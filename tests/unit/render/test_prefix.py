"""What of a prompt says to which engine it goes."""

import json
import re

import pytest

from deployctl.errors import PlanRefusedError
from deployctl.hardware import load_profile
from deployctl.render import gateway, gatewayrefusals, prefix, render_process
from deployctl.render.helm import helm_values

LONG = "You are a clerk of the archive. " * 200
COMPACT, SPACED, INDENTED = {"separators": (",", ":")}, {}, {"indent": 2}


def opening(body, path="/v1/chat/completions", **how):
    text = body if isinstance(body, str) else json.dumps(body, **how)
    found = re.search(prefix.opening(prefix.PROMPTS[path]), text)
    return found and found[1]


def chat(*texts, system=None, **more):
    roles = ("user", "assistant") * len(texts)
    said = [{"role": r, "content": text} for r, text in zip(roles, texts, strict=False)]
    first = [{"role": "system", "content": system}] if system else []
    return {"model": "tiny", "messages": [*first, *said], **more}


@pytest.mark.parametrize("how", [COMPACT, SPACED, INDENTED])
@pytest.mark.parametrize("system", [None, "Be brief.", LONG])
def test_all_turns_of_a_conversation_have_one_opening(how, system):
    turns = [
        chat(*['Who was "Ada"?', "Ada\nLovelace \\", "When?"][:n], system=system) for n in (1, 3)
    ]
    first, later = (opening(each, **how) for each in turns)
    assert first == later
    assert first


def test_of_parts_it_is_the_first_text():
    def parts(text):
        return chat([{"type": "text", "text": text}, {"type": "image_url", "image_url": {}}])

    one, other = opening(parts("Hello")), opening(parts("Hullo"))
    assert one.endswith('"Hello')
    assert one != other


@pytest.mark.parametrize("system", [None, "Be brief."])
def test_conversations_that_begin_otherwise_have_others(system):
    asked = [chat(text, system=system) for text in ("Hello", "Hello there", "Hullo")]
    assert len({opening(each) for each in asked}) == 3


def test_all_that_asks_about_one_long_text_has_one_opening():
    assert opening(chat("Who?", system=LONG)) == opening(chat("When?", system=LONG))
    texts = [{"prompt": f"{LONG} {question}"} for question in ("Who?", "When?")]
    one, other = (opening(each, "/v1/completions") for each in texts)
    assert one == other
    assert LONG.startswith(one[1:])


@pytest.mark.parametrize(
    ("path", "body", "found"),
    [
        ("/v1/completions", {"prompt": "Hello"}, '"Hello'),
        ("/v1/completions", {"prompt": ["Hello", "you"]}, '["Hello", "you"]}'),
        ("/v1/completions", {"prompt": [1, 2]}, "[1, 2]}"),
        ("/v1/responses", {"input": "Hello"}, '"Hello'),
        ("/v1/messages", chat("Hello"), '[{"role": "user", "content": "Hello'),
        ("/v1/chat/completions", {"messages": None}, None),
        ("/v1/chat/completions", "no JSON", None),
    ],
)
def test_each_route_has_its_own(path, body, found):
    assert opening(body, path) == found


def test_a_service_of_one_engine_has_no_choice_and_a_busy_one_is_told_from_the_plan(planned):
    for replicas, chosen in ((1, False), (2, True)):
        plan, spec = planned("awq", "cpu", replicas=replicas, routing="prefix", gateway=True)
        entry = gateway.entry_of(render_process(plan, spec))
        assert entry.by_prefix is chosen
        assert entry.at_once == plan.engine.defaults["max_num_seqs"]
        text = gateway.configuration([entry], monitor_port=1)
        assert (prefix.OPENING in text) is chosen


def test_on_a_cluster_it_is_the_router_s_and_least_busy_is_nobody_s(by_hand):
    plan, spec = by_hand(model="org/tiny", routing="prefix", model_local=False)
    assert helm_values(plan, spec, load_profile("cpu"))["router"] == {"enabled": True}
    plan, spec = by_hand(model="org/tiny", model_local=False)
    assert "router" not in helm_values(plan, spec, load_profile("cpu"))
    with pytest.raises(PlanRefusedError, match="how busy a pod is") as caught:
        gatewayrefusals.refuse(by_hand(routing="least-busy")[1])
    assert caught.value.where == "routing"
