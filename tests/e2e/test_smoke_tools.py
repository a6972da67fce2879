"""Tool calls from the plan to `smoke`: the parser's flag reaches the engine, and a call that comes
back as text is found. The engine is the fake one.
"""

import json

import pytest

TEMPLATE = '{% if tools %}<tool_call>{"name": …}</tool_call>{% endif %}{{ messages }}'


@pytest.fixture
def chatting(shell):
    """A service whose checkpoint's chat template teaches tool calls."""
    document = json.dumps({"chat_template": TEMPLATE})
    (shell.model / "tokenizer_config.json").write_text(document)
    return shell


def smoked(shell, *words):
    """The exit code, and the checks by name."""
    code, out, err = shell.run("smoke", "tiny", "--output", "json", *words)
    assert out, err
    return code, {check["name"]: check for check in json.loads(out)["checks"]}, err


def test_a_tool_call_is_made_and_read_back(chatting):
    code, _, err = chatting.up()
    assert code == 0, err
    code, checks, err = smoked(chatting)
    assert code == 0, err
    assert checks["named_tool"]["detail"] == "get_weather(city=Paris)"
    assert checks["auto_tool"]["ok"]
    assert checks["streamed_tool"]["ok"]


def test_a_call_that_comes_back_as_text_fails(chatting):
    code, _, err = chatting.up(tools="text")
    assert code == 0, err
    code, checks, err = smoked(chatting)
    assert code == 4
    assert checks["auto_tool"]["detail"].startswith("the call came back as text: <tool_call>")
    assert "--engine-arg tool-call-parser=NAME" in err


def test_a_stream_that_repeats_the_call_fails(chatting):
    code, _, err = chatting.up(tools="twice")
    assert code == 0, err
    code, checks, err = smoked(chatting)
    assert code == 4
    assert checks["auto_tool"]["ok"]
    assert checks["streamed_tool"]["detail"] == "the name comes more than once"
    assert "agents that do not stream are not hit" in err


def test_whoever_wants_no_tools_is_not_asked_for_them(chatting):
    code, _, err = chatting.up("--engine-arg", "tool-call-parser=none")
    assert code == 0, err
    code, checks, err = smoked(chatting)
    assert code == 0, err
    assert "auto_tool" not in checks
    code, checks, err = smoked(chatting, "--tools", "yes")
    assert code == 4
    assert "requires --enable-auto-tool-choice" in checks["auto_tool"]["detail"]
