"""Chat templates: the text of a checkpoint's own, and what it knows. Read, never rendered. Pure."""

import re
from collections.abc import Iterator
from typing import Any

from deployctl.model.facts import Documents

_EDGE = re.compile(r"\{[%{]|[%}]\}")
_STRING = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_TOOLS = re.compile(r"(?<![.\w])tools\b")


def text_of(documents: Documents) -> str | None:
    """The checkpoint's chat template; several of them one after the other; None without any.

    A file of its own goes before tokenizer_config.json (transformers' order).
    """
    if documents.chat_template is not None:
        return documents.chat_template
    return joined((documents.tokenizer_config or {}).get("chat_template"))


def joined(template: Any) -> str | None:
    """The text of a `chat_template` field: a text, or a list of named ones."""
    if isinstance(template, str):
        return template
    if not isinstance(template, list):
        return None
    texts = [t.get("template") for t in template if isinstance(t, dict)]
    return "\n".join(t for t in texts if isinstance(t, str)) or None


def knows_tools(text: str) -> bool:
    """Whether a template writes the tools of a request into the prompt.

    What counts is the variable `tools`. `message.tools`, as Phi-4-mini has it, is another thing,
    and so is a sentence about tools.
    """
    return any(_TOOLS.search(_STRING.sub("", code)) for code in _code(text))


def _code(text: str) -> Iterator[str]:
    """What stands between {% and %}, {{ and }}."""
    start = None
    for edge in _EDGE.finditer(text):
        if edge.group().startswith("{"):
            start = edge.end() if start is None else start
        elif start is not None:
            yield text[start : edge.start()]
            start = None
