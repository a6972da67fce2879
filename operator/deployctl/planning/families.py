"""Which family of deploy/engines/model-serving.yaml a checkpoint is of, and how its chat template
tells the model to write tool calls. Pure.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from deployctl import assets
from deployctl.engines.vllm.versions import at_least
from deployctl.model import ModelFacts

ENGINE = "engine"  # the engine writes the prompt itself


class Family(NamedTuple):
    """Models that are served alike, as the file says."""

    title: str
    source: str = ""
    names: str | None = None  # a regular expression
    types: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()  # parsers, the best first
    reasoning: tuple[str, ...] = ()
    template: str | None = None  # vLLM's own, or ENGINE
    offered: bool = False
    thinks: str = "think"
    arguments: tuple[tuple[str, str], ...] = ()  # of the engine, by the names of Python
    without: str | None = None
    chats: bool = True


class Match(NamedTuple):
    """A family, and what showed it: a name, or config.json's model_type."""

    family: Family
    evidence: str


class Format(NamedTuple):
    """How a template tells its model to write a call."""

    text: str
    parsers: tuple[str, ...]
    alone: bool = False  # the text is enough to choose the first parser


def match(facts: ModelFacts) -> Match | None:
    """The family of a checkpoint: by its own name, then by what it was made of, then by its type.

    What it was made of may be a base model, which says nothing of how it was tuned.
    """
    families = every()
    kinds = _kinds(facts)
    for number, name in enumerate([facts.source, *facts.base_models]):
        for family in families:
            if family.names is None or (number and not family.chats):
                continue
            fits = not family.types or not kinds or kinds & set(family.types)
            if fits and re.search(family.names, _plain(name)):
                return Match(family, name)
    for family in families:
        shared = sorted(kinds & set(family.types))
        if family.names is None and shared:
            return Match(family, f"model_type {shared[0]}")
    return None


def written(facts: ModelFacts) -> Format | None:
    """The format that the checkpoint's own template teaches; None where none is known."""
    text = facts.template if facts.template_tools else None
    return next((form for form in _formats() if text and form.text in text), None)


def in_image(template: str, version: str) -> str | None:
    """Where vLLM's image of a release has one of vLLM's templates; None if it has not."""
    table = _table()["templates"]
    since = table["since"].get(template)
    return f"{table['folder']}/{template}" if since and at_least(version, since) else None


def _kinds(facts: ModelFacts) -> set[str]:
    architecture = facts.architecture
    if architecture is None:
        return set()
    return {kind for kind in (architecture.model_type, architecture.text_type) if kind}


def _plain(name: str) -> str:
    """The last part of an id or path, as the file's expressions want it."""
    return name.rstrip("/").rsplit("/", 1)[-1].lower().replace("_", "-")


@cache
def every() -> tuple[Family, ...]:
    """All families, in the order in which they are looked for."""
    return tuple(_family(entry) for entry in _table()["families"])


@cache
def _formats() -> tuple[Format, ...]:
    return tuple(
        Format(e["text"], tuple(e["parsers"]), e.get("alone", False)) for e in _table()["formats"]
    )


def _family(entry: dict[str, Any]) -> Family:
    return Family(**dict(_tuples(entry)))


def _tuples(entry: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in entry.items():
        pairs = value.items() if isinstance(value, dict) else value
        yield key, tuple(pairs) if isinstance(value, list | dict) else value


def _table() -> dict[str, Any]:
    table: dict[str, Any] = assets.table("deploy", "engines", "model-serving.yaml")
    return table
