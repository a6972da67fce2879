"""Writes a Compose file: YAML in which Compose, too, finds nothing to replace.

Compose replaces `$NAME`, so every `$` is doubled unless it comes from `variable`.
"""

from typing import Any

from deployctl.render import yamltext


class Variable(str):
    """A reference that Compose fills in from its environment, e.g. `${NAME:-}`."""


def variable(name: str) -> Variable:
    """Refers to an environment variable of `docker compose`; empty when it is not set."""
    return Variable("${" + name + ":-}")


def write(document: dict[str, Any], comment: str) -> str:
    """Writes the document as YAML, keys in the order given, below a comment."""
    return yamltext.write(_escaped(document), comment)


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(item) for item in value]
    if isinstance(value, str) and not isinstance(value, Variable):
        return value.replace("$", "$$")
    return value


yamltext.Dumper.add_representer(Variable, yamltext.text)
