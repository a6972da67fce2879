"""Tool calls through a real vLLM: its chat template, its parsers and `smoke`, which reads a call.

A model without sense calls no tool, so this one is built by code (tests/chained.py): it always
answers alike. The plan chooses its parsers as it does for any checkpoint.
"""

import json
import subprocess
import sys

import httpx
import pytest
from tests.e2e.engine_cache import knowing
from tests.e2e.measured import KEY, Measured

import chained
import ports
from deployctl.endpoint import Chats
from deployctl.operations.measure import chats

pytestmark = pytest.mark.vllm

# What each parser of vLLM makes of a call, whole and in pieces, as its server asks it.
ASK = """
import json, os, sys, warnings
warnings.filterwarnings("ignore")
os.environ["VLLM_LOGGING_LEVEL"] = "CRITICAL"
from transformers import AutoTokenizer
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.parser.parser_manager import ParserManager
from vllm.tool_parsers import ToolParserManager
folder, texts, tool = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(folder)
pieces = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
body = {"messages": [{"role": "user", "content": "?"}], "tools": [tool], "tool_choice": "auto"}

def fresh(name):
    request = ChatCompletionRequest(model="m", **body)
    parser = ParserManager.get_parser(tool_parser_name=name, enable_auto_tools=True)
    return request, parser(tokenizer, request.tools)

def asked(name):
    request, parser = fresh(name)
    ids = [number for piece in pieces for number in piece]
    reasoning, content, calls = parser.parse(
        "".join(texts), request, enable_auto_tools=True, model_output_token_ids=ids)
    calls = [{"function": {"name": c.name, "arguments": c.arguments}} for c in calls or []]
    request, parser = fresh(name)
    deltas = [
        parser.parse_delta(text, ids, request, prompt_token_ids=[1], finished=text == texts[-1])
        for text, ids in zip(texts, pieces)]
    whole = {"content": content, "reasoning": reasoning, "tool_calls": calls}
    return whole, [delta.model_dump(exclude_none=True) for delta in deltas if delta]

found = {}
for name in ToolParserManager.list_registered():
    try:
        found[name] = asked(name)
    except Exception as error:
        found[name] = str(error)
sys.stdout.write("ANSWER" + json.dumps(found))
"""


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
def test_whatever_parser_is_wrong_is_found(checkpoint):
    texts = chained.ANSWERS["<|calls|>"]
    asked = json.dumps([str(checkpoint), texts, chats.TOOL])
    done = subprocess.run(
        [sys.executable, "-c", ASK], input=asked, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    good, bad = set(), set()
    for name, found in json.loads(done.stdout.split("ANSWER", 1)[1]).items():
        if isinstance(found, str):
            continue  # the engine does not start with it: a token or a package is missing
        checks = {check.name: check for check in answered(*found, len(texts))}
        wanted = [{"function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}]
        assert checks["auto_tool"].ok == (found[0]["tool_calls"] == wanted), name
        assert "not decided" not in checks["auto_tool"].detail, name
        (good if checks["auto_tool"].ok and checks["streamed_tool"].ok else bad).add(name)
    # Those that read calls written so, and all others.
    assert good == {"ernie45", "granite4", "hermes", "qwen3_json"}
    assert len(bad) > 30


def answered(message, deltas, tokens):
    """What smoke says of a server that answers so."""
    finish = "tool_calls" if message["tool_calls"] else "stop"

    def handler(request):
        if not json.loads(request.content).get("stream"):
            choice = {"message": message, "finish_reason": finish}
            document = {"choices": [choice], "usage": {"completion_tokens": tokens}}
            return httpx.Response(200, json=document)
        chunks = [{"choices": [{"delta": delta}]} for delta in deltas]
        chunks.append({"choices": [{"delta": {}, "finish_reason": finish}]})
        events = [json.dumps(chunk) for chunk in chunks]
        return httpx.Response(200, text="".join(f"data: {e}\n\n" for e in [*events, "[DONE]"]))

    client = httpx.Client(base_url="http://h:1", transport=httpx.MockTransport(handler))
    return chats.checks(client, "m", Chats("parsed"), "")


@pytest.mark.night
def test_a_missing_parser_is_found(start, checkpoint):
    engine = start(checkpoint, "--engine-arg=tool-call-parser=none")
    assert "auto_tool" not in engine.smoke(engine.name)
    address = ("--url", engine.url, "--api-key-file", engine.folder / "key")
    refused = engine.smoke(*address)["auto_tool"]["detail"]
    assert refused.startswith("not decided: no tools are taken: HTTP 400")
    found = engine.smoke(engine.name, "--tools", "yes", code=4)
    assert "--tool-call-parser to be set" in found["auto_tool"]["detail"]
