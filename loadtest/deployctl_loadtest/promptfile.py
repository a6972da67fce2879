"""Files of recorded prompts: one a line, or conversations in ShareGPT's format. Pure but `read`."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from deployctl_loadtest import files

FORMATS = ("lines", "jsonl", "sharegpt")
_MOST = 20_000  # conversations that are kept: more than a run asks
CHARACTERS_A_TOKEN = 4.0  # of English text, about: how long a recorded answer was
_WRONG = (ValueError, RecursionError)  # of JSON: also one that is nested too deeply
_HUMAN, _MODEL = ("human", "user"), ("gpt", "assistant", "chatgpt", "bing", "bard")


@dataclasses.dataclass(frozen=True)
class Record:
    """What a user said, turn by turn, and about how many tokens each answer had; 0: unknown."""

    turns: tuple[tuple[str, int], ...]
    answers: tuple[str, ...] = ()  # as they were recorded, for a tokenizer to count


def read(path: Path, kind: str) -> tuple[Record, ...]:
    """Reads a file of prompts.

    Raises:
        ValueError: it is missing, empty, or of another format.
    """
    try:
        text = files.read(path)
    except ValueError as error:
        raise ValueError(f"prompts.file: {path}: {error}") from error
    parse = {"lines": from_lines, "jsonl": from_jsonl, "sharegpt": from_sharegpt}[kind]
    records = parse(text)
    if not records:
        raise ValueError(f"prompts.file: {path}: holds no prompt")
    return records


def from_lines(text: str) -> tuple[Record, ...]:
    """One prompt a line; empty lines are none."""
    lines = (line.strip() for line in text.splitlines())
    return tuple(Record(((line, 0),)) for line in lines if line)[:_MOST]


def from_jsonl(text: str) -> tuple[Record, ...]:
    """A line is `{"prompt": "…", "output_tokens": 100}`; the latter may be left out.

    Raises:
        ValueError: a line is something else.
    """
    records: list[Record] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or len(records) >= _MOST:
            continue
        try:
            values = json.loads(line)
            prompt, tokens = values["prompt"], int(values.get("output_tokens") or 0)
        except (*_WRONG, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"prompts.file: line {number} has no prompt") from error
        if not isinstance(prompt, str) or tokens < 0:
            raise ValueError(f"prompts.file: line {number} has no prompt")
        records.append(Record(((prompt, tokens),)))
    return tuple(records)


def from_sharegpt(text: str) -> tuple[Record, ...]:
    """A JSON list of `{"conversations": [{"from": "human", "value": "…"}, …]}`.

    Conversations that do not begin with a user's words are left out, as is the end of one
    whose turns do not alternate.

    Raises:
        ValueError: it is no such list.
    """
    try:
        document = json.loads(text)
    except _WRONG as error:
        raise ValueError(f"prompts.file: not JSON: {error}") from error
    if not isinstance(document, list):
        raise ValueError("prompts.file: not a list of conversations")
    records = (_conversation(entry) for entry in document)
    return tuple(record for record in records if record.turns)[:_MOST]


def _conversation(entry: Any) -> Record:
    said = entry.get("conversations") or entry.get("messages") if isinstance(entry, dict) else None
    turns: list[tuple[str, int]] = []
    answers: list[str] = []
    asked: str | None = None
    for message in said if isinstance(said, list) else []:
        if not isinstance(message, dict):
            break
        who = message.get("from") or message.get("role")
        words = message.get("value") or message.get("content")
        if not isinstance(words, str) or not words.strip():
            break
        if who in _HUMAN and asked is None:
            asked = words
        elif who in _MODEL and asked is not None:
            turns.append((asked, max(1, round(len(words) / CHARACTERS_A_TOKEN))))
            answers.append(words)
            asked = None
        elif who != "system":
            break
    return Record(tuple(turns), tuple(answers))
