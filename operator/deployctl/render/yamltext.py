"""Writes YAML from structures, so that no text in it can mean anything else; and reads it again.

YAML reads `no` or `1e3` as something other than text, so every text is quoted unless it is
plainly a word. Compose replaces `$NAME`, so in its files every `$` is doubled unless it comes from
`variable`.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from deployctl.boundedyaml import PARSER

# Words that no YAML version reads as anything but text.
_WORD = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_NOT_TEXT = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"})
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def read(text: str) -> Any:
    """Reads a document of ours; what others wrote is for `boundedyaml`.

    Raises:
        yaml.YAMLError: it is no YAML, or more than one document.
    """
    return yaml.load(text, Loader=PARSER)  # noqa: S506


def read_all(text: str) -> Iterator[Any]:
    """Reads documents of ours one by one, None for an empty one; raises as `read`."""
    return iter(yaml.load_all(text, Loader=PARSER))


def write(document: dict[str, Any], comment: str) -> str:
    """Writes the document as YAML, keys in the order given, below a comment."""
    header = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    return header + yaml.dump(
        document,
        Dumper=Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=2**31,
    )


class ComposeVariable(str):
    """A reference that Compose fills in from its environment, e.g. `${NAME:-}`."""


def variable(name: str) -> ComposeVariable:
    """Refers to an environment variable of `docker compose`; empty when it is not set."""
    return ComposeVariable("${" + name + ":-}")


def write_compose(document: dict[str, Any], comment: str) -> str:
    """Writes a Compose file, in which Compose finds nothing to replace but variables."""
    return write(_escaped(document), comment)


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(item) for item in value]
    if isinstance(value, str) and not isinstance(value, ComposeVariable):
        return value.replace("$", "$$")
    return value


class Dumper(yaml.SafeDumper):
    """SafeDumper with its own idea of quoting, and lists indented below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indents lists, too."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        """Writes everything out: nothing is an alias."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    """A text, quoted unless it is a word; several lines as a block."""
    if "\n" in value and value.isascii() and value.replace("\n", "").isprintable():
        style: str | None = "|"
    elif _WORD.fullmatch(value) and value.lower() not in _NOT_TEXT:
        style = None
    else:
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(value), style=style)


def _mapping(dumper: yaml.SafeDumper, value: dict[str, Any]) -> yaml.MappingNode:
    pairs = []
    for key, item in value.items():
        plain = _KEY.fullmatch(key) and key.lower() not in _NOT_TEXT
        name = dumper.represent_scalar("tag:yaml.org,2002:str", key, style=None if plain else '"')
        pairs.append((name, dumper.represent_data(item)))
    return yaml.MappingNode("tag:yaml.org,2002:map", pairs, flow_style=False)


Dumper.add_representer(str, _text)
Dumper.add_representer(ComposeVariable, _text)
Dumper.add_representer(dict, _mapping)
