"""The CPU image: small, and whole where the engine needs more than to answer."""

import json

import pytest
from tests.e2e.docker_parts import call, inspect

pytestmark = pytest.mark.docker

MOST_BYTES = 3e9
SCHEMA = {
    "type": "object",
    "properties": {"capital": {"type": "string", "maxLength": 12}, "large": {"type": "boolean"}},
    "required": ["capital", "large"],
    "additionalProperties": False,
}


def test_it_is_small(cpu_image):
    assert inspect(cpu_image)["Size"] < MOST_BYTES


@pytest.mark.night
def test_a_compiled_engine_keeps_to_a_schema(cli, cpu_image, awq_checkpoint, service, port):
    """Compiled by the C++ compiler that is in it, and by its grammars without triton."""
    words = ("--gpu", "cpu", "--target", "docker", "--max-model-len", "512", "--name", service)
    up = cli.json("up", "--model", awq_checkpoint, *words, "--port", port)
    log = cli("logs", service).stdout
    assert "torch.compile took" in log
    body = {
        "model": up["model"],
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "max_tokens": 64,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": SCHEMA},
        },
    }
    code, answer = call(f"{up['url']}/chat/completions", body)
    assert code == 200
    said = json.loads(answer["choices"][0]["message"]["content"])
    assert said.keys() == {"capital", "large"}
    cli("down", service, "--volumes")
