"""Whether a chat template can tell a model of tools."""

import pytest

from deployctl.model.template import knows_tools

HERMES = "{% if tools %}<tools>…</tools> <tool_call>{{ '{' }}\"name\": …</tool_call>{% endif %}"
PHI = "{% if message['role'] == 'system' and 'tools' in message %}{{ message['tools'] }}{% endif %}"


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (HERMES, True),
        ("{%- if custom_tools is defined %}{% set tools = custom_tools %}{% endif %}", True),
        ("You can use tools. {{ message.content }}", False),
        ("{{ 'You can use tools' }}", False),
        ("{% for tool in message.tools %}{% endfor %}", False),
        ("{% for tool in message['tool_calls'] %}{% endfor %}", False),
        (PHI, False),
        ("{% {% {{ tools", False),
    ],
)
def test_whether_a_template_knows_tools(text, known):
    assert knows_tools(text) == known
