"""Tool calls through a real vLLM: its chat template, its parsers and `smoke`, which reads a call.

A model without sense calls no tool, so this one is built by code (tests/chained.py): it always
answers alike. The plan chooses its parsers as it does for any checkpoint.
"""

import json

import httpx
import pytest
from tests.e2e.engine_cache import knowing
from tests.e2e.measured import KEY, Measured

import chained
import ports
from deployctl.endpoint import Chats
from deployctl.operations.measure import chats

pytestmark = pytest.mark.vllm


class Calling(Measured):
    """A service whose model calls tools."""

    name = "calling"

    def smoke(self, *words, code=0):
        """The checks by name."""
        found = self.json("smoke", *words, code=code)["checks"]
        return {check["name"]: check for check in found}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return chained.build(tmp_path_factory.mktemp("checkpoint") / "chained")


@pytest.fixture(scope="module")
def start(tmp_path_factory, checkpoint_cache):
    """Starts a service of a checkpoint, with more words for `up`; one at a time."""
    running = []

    def started(checkpoint, *words):
        while running:
            running.pop().down()
        folder = tmp_path_factory.mktemp("service")
        cache = knowing(folder / "cache", checkpoint_cache, Calling.name)
        running.append(Calling(folder, checkpoint, ports.free(), cache, *words))
        return running[0]

    yield started
    while running:
        running.pop().down()


@pytest.fixture(scope="module")
def engine(start, checkpoint):
    """As the plan has it: hermes, and qwen3 for reasoning."""
    return start(checkpoint)


def test_a_call_comes_back_parsed_whole_and_streamed(engine):
    found = engine.smoke(engine.name)
    assert found["auto_tool"]["detail"] == "get_weather(city=Paris)"
    assert found["streamed_tool"]["detail"] == "name and arguments in pieces"
    assert found["named_tool"]["detail"] == "get_weather(city=Paris)"
    assert found["reasoning"]["detail"] == "24 characters"


def test_an_address_is_asked_for_a_call_too(engine):
    address = ("--url", engine.url, "--api-key-file", engine.folder / "key")
    found = engine.smoke(*address, "--tools", "yes")
    assert found["streamed_tool"]["ok"]
    assert "auto_tool" not in engine.smoke(*address, "--tools", "no")


class Otherwise(httpx.HTTPTransport):
    """Has the model write calls in Llama's syntax, which the service's parser does not read."""

    def handle_request(self, request):
        body = {**json.loads(request.content), "chat_template_kwargs": {"dialect": "llama"}}
        again = httpx.Request(request.method, request.url, json=body)
        again.headers["Authorization"] = request.headers["Authorization"]
        return super().handle_request(again)


def test_a_call_that_the_parser_does_not_know_is_found(engine):
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(
        base_url=engine.url, headers=headers, transport=Otherwise(), timeout=120
    ) as client:
        found = chats.checks(client, "chained", Chats("parsed"), "")
    assert not found[0].ok
    # vLLM takes an answer without </think> for reasoning, though the prompt has ended it.
    assert found[0].detail.startswith('the call came back as reasoning: {"name": "get_weather"')


@pytest.mark.night
@pytest.mark.parametrize(
    ("words", "detail"),
    [
        (["tool-call-parser=pythonic"], "the call came back as text: <tool_call>"),
        (["tool-call-parser=xlam"], "the call came back as text: <tool_call>"),
        (["tool-call-parser=qwen3_coder"], "the model wrote 18 tokens, and nothing came back"),
        (["tool-call-parser=poolside_v1"], 'the call came back garbled: {"name": "get_weather"'),
    ],
)
def test_the_wrong_parser_is_found(start, checkpoint, words, detail):
    engine = start(checkpoint, *(f"--engine-arg={word}" for word in words))
    found = engine.smoke(engine.name, code=4)
    assert found["auto_tool"]["detail"].startswith(detail)


@pytest.mark.night
def test_a_missing_parser_is_found(start, checkpoint):
    engine = start(checkpoint, "--engine-arg=tool-call-parser=none")
    assert "auto_tool" not in engine.smoke(engine.name)
    address = ("--url", engine.url, "--api-key-file", engine.folder / "key")
    refused = engine.smoke(*address)["auto_tool"]["detail"]
    assert refused.startswith("not decided: no tools are taken: HTTP 400")
    found = engine.smoke(engine.name, "--tools", "yes", code=4)
    assert "--tool-call-parser to be set" in found["auto_tool"]["detail"]
