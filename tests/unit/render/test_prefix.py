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
SORTED = {"sort_keys": True}


def opening(body, path="/v1/chat/completions", **how):
    text = body if isinstance(body, str) else json.dumps(body, **how)
    found = re.search(prefix.opening(prefix.PROMPTS[path]), text)
    return found and "".join(group or "" for group in found.groups())


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


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo=" * 500}}
NAMED, MARK = {"name": "ada"}, {"cache_control": {"type": "ephemeral"}}
MESSAGES = {  # how clients write a message
    "openai": lambda role, text: {"role": role, "content": text},
    "named": lambda role, text: {"role": role, **NAMED, "content": text},
    "dumped": lambda role, text: {"role": role, "name": None, "content": text, "tool_calls": None},
    "with an id": lambda role, text: {"id": f"m-{role}", "role": role, "content": text},
    "responses": lambda role, text: {"type": "message", "role": role, "content": text},
    "langchain": lambda role, text: {"content": text, "role": role},
    "langchain, named": lambda role, text: {"content": text, **NAMED, "role": role},
    "dumped, sorted": lambda role, text: {"content": text, "id": 7, "name": None, "role": role},
}
PARTS = {  # and what of a user has more than text
    "one": lambda text: [{"type": "text", "text": text}],
    "responses": lambda text: [{"type": "input_text", "text": text}],
    "marked": lambda text: [{"text": text, "type": "text", **MARK}],
    "image after": lambda text: [{"type": "text", "text": text}, IMAGE],
    "brackets": lambda text: [{"type": "text", "text": text}, {"type": "text", "text": 'a ] "}]'}],
}


def in_parts(write, parts):
    return lambda role, text: write(role, parts(text) if role == "user" else text)


WRITERS = MESSAGES | {
    f"{client}: {name}": in_parts(MESSAGES[client], parts)
    for client in ("openai", "langchain, named")
    for name, parts in PARTS.items()
}


def conversation(write, system, *texts):
    said = zip(["user", "assistant"] * len(texts), texts, strict=False)
    first = [("system", system)] if system else []
    return {"messages": [write(*each) for each in [*first, *said]], "stream": True, "tools": []}


@pytest.mark.parametrize("how", [COMPACT, SPACED, INDENTED, SORTED])
@pytest.mark.parametrize("system", [None, 'Be "brief" [really].' + "x" * 500])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_conversation_has_an_opening_of_its_own_whoever_writes_it(writer, system, how):
    asked, later = ("Who?", 'Who was "Ada"?'), ("Lovelace ]", "When?", "Then.", "And?")

    def both(*more, asked=asked):
        bodies = [conversation(WRITERS[writer], system, first, *more) for first in asked]
        return [opening(each, **how) for each in bodies]

    one, other = both()
    assert one != other
    assert both(*later) == [one, other]
    first, second = both(*later, asked=[f"{LONG} Who?", f"{LONG} When?"])
    assert first == second != one


@pytest.mark.parametrize("how", [SPACED, SORTED])
def test_of_an_image_before_the_text_it_is_how_that_begins(how):
    write = in_parts(MESSAGES["openai"], lambda text: [IMAGE, {"type": "text", "text": text}])
    turns = [conversation(write, "Look.", *["Who?", "Ada", "When?"][:n]) for n in (1, 3)]
    first, later = (opening(each, **how) for each in turns)
    assert first == later
    assert "iVBORw0KGgo=" in first


def test_of_parts_it_is_the_first_text():
    def parts(text, marked):
        first = {"type": "text", "text": text, **marked}
        return chat([first, {"type": "image_url", "image_url": {}}])

    one, other = opening(parts("Hello", {})), opening(parts("Hullo", {}))
    assert one.endswith('"Hello')
    assert one != other
    # Clients of Anthropic's routes mark the last messages of a conversation, others each time.
    assert opening(parts("Hello", {"cache_control": {"type": "ephemeral"}})) == one


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
