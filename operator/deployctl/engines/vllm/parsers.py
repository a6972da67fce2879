"""Which tool-call and reasoning parsers a vLLM release has (deploy/engines/vllm-parsers.json)."""

from collections.abc import Iterable
from typing import Literal

from deployctl.engines.vllm.versions import document, in_force

Kind = Literal["tool", "reasoning"]
FLAGS: dict[Kind, str] = {"tool": "tool_call_parser", "reasoning": "reasoning_parser"}


def names(kind: Kind, version: str) -> tuple[str, ...]:
    """The parsers of a release; of one that is not known, those of the one before."""
    periods = document("parsers")[kind].items()
    return tuple(name for name, when in periods if in_force(when, version))


def first(kind: Kind, wanted: Iterable[str], version: str) -> str | None:
    """The first of `wanted` that a release has."""
    there = names(kind, version)
    return next((name for name in wanted if name in there), None)
