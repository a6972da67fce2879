"""Where words go: the answer to stdout, the story to stderr."""

import json
import sys
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.text import Text


class Output(StrEnum):
    """How the answer is written."""

    text = "text"
    json = "json"


err = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def story(text: str, *, style: str = "", prefix: int | None = None) -> None:
    """Says what goes on, on stderr. `style` colours the first `prefix` characters, or all."""
    line = Text(text)
    if style:
        line.stylize(style, 0, len(text) if prefix is None else prefix)
    err.print(line)


def answer_json(value: Any) -> None:
    """Writes one JSON document to stdout. Pydantic models are dumped first."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")
