"""Traces of real traffic to replay: when each request came, and how long it and its answer were.

Two formats are read. Mooncake: JSON lines with `timestamp` (ms), `input_length`,
`output_length` and `hash_ids`, which name the prompt's blocks of 512 tokens, so that prompts
with a common beginning are known. BurstGPT: CSV with `Timestamp` (s), `Request tokens` and
`Response tokens`; its rows without response tokens are failures, and are left out.
"""

import csv
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from deployctl_loadtest import files

BLOCK_TOKENS = 512


@dataclasses.dataclass(frozen=True)
class Row:
    """One request: seconds from the trace's begin, tokens, and the blocks of its prompt."""

    at_s: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()


def load(path: str) -> list[Row]:
    """Reads a trace, in order of time and beginning at 0.

    Raises:
        ValueError: it cannot be read, or is of neither format; the message says where.
    """
    try:
        rows = parse(files.read(Path(path)))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not rows:
        raise ValueError(f"{path}: holds no request")
    return rows


def parse(text: str) -> list[Row]:
    """Reads a trace's text.

    Raises:
        ValueError: it is of neither format.
    """
    rows = _mooncake(text) if text.lstrip().startswith("{") else _burstgpt(text)
    rows.sort(key=lambda row: row.at_s)
    begin = rows[0].at_s if rows else 0.0
    return [dataclasses.replace(row, at_s=row.at_s - begin) for row in rows]


def _mooncake(text: str) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            row = _row(values["timestamp"] / 1000, values["input_length"], values["output_length"])
            blocks = tuple(int(block) for block in values.get("hash_ids") or ())
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"line {number}: {_said(error)}") from error
        if row.output_tokens > 0:
            rows.append(dataclasses.replace(row, blocks=blocks))
    return rows


def _burstgpt(text: str) -> list[Row]:
    table = csv.DictReader(text.splitlines())
    needed = ("Timestamp", "Request tokens", "Response tokens")
    if missing := [name for name in needed if name not in (table.fieldnames or ())]:
        raise ValueError(
            f"neither Mooncake's JSON lines nor BurstGPT's CSV: no column {missing[0]!r}"
        )
    rows: list[Row] = []
    for values in table:
        try:
            row = _row(*(float(values[name]) for name in needed))
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"line {table.line_num}: {_said(error)}") from error
        if row.output_tokens > 0:
            rows.append(row)
    return rows


def _row(at_s: Any, input_tokens: Any, output_tokens: Any) -> Row:
    at, inn, out = float(at_s), float(input_tokens), float(output_tokens)
    if not (math.isfinite(at) and math.isfinite(inn) and math.isfinite(out)) or min(inn, out) < 0:
        raise ValueError("a time or a length that is none")
    return Row(at, max(1, int(inn)), int(out))


def _said(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)
