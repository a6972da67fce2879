"""What a server may send at most, and how its words are made fit to keep and to show. Pure.

Every limit on what is read from a server is here, with its reason: those of the load client and
those of all other requests (`deployctl.web`). What goes beyond one is an error that says so.
"""

import json
import math
import re
from typing import Any, NoReturn

KIB, MIB = 1024, 1024 * 1024

# The head of an answer. Servers themselves take heads of 8 to 64 KiB; h11, which reads them for
# `deployctl.web`, has this limit built in.
MAX_HEAD = 100 * KIB
# Fields of it. Servers send 5 to 20, behind a few proxies 40; the load client's parser takes the
# longer for each the more there are.
MAX_FIELDS = 256
# A JSON document: a list of models, a completion, a prompt's tokens. Those of a prompt of a million
# tokens are 7 MB, and no answer that is asked for is as long.
MAX_DOCUMENT = 16 * MIB
# /metrics: vLLM writes some 70 KiB for an engine, and one address may stand for 64 of them.
MAX_METRICS = 8 * MIB
# A line of it that is read: vLLM's take 100 to 400 bytes, and the parser's time grows with the
# square of a line's length.
MAX_METRICS_LINE = 4 * KIB
# A line of a stream: a chunk takes 250 bytes, one with the logprobs of 20 alternatives 10 KiB, a
# long tool call that comes at once 100 KiB; but the first may have the prompt's tokens
# (return_token_ids), as many as a document.
MAX_LINE = MAX_DOCUMENT
# An event of several lines, each of which has all before it read anew; and how many. Each server
# known writes one; more are allowed by the format.
MAX_EVENT = MIB
MAX_EVENT_LINES = 1000
# Of a stream, what comes without a text: keep-alives, a few a minute. An answer has at most a
# million tokens, a chunk each, and its chunks are as long as the request asks for.
MAX_SILENT = 256 * MIB
MAX_CHUNKS = 1_000_000
# The body of a refusal: a sentence of it is shown. Door and engine write less than 1 KiB.
MAX_REFUSAL = 64 * KIB
# Of a message, an id or a name, what is kept; every sample has some of them.
MAX_MESSAGE = 200
# The deepest answer known (a tool's schema, echoed) nests 15 levels.
MAX_DEPTH = 64
# Of an answer: beyond it no context goes.
MAX_TOKENS = 10**9

# Colours and the like, titles and links: whole sequences, so that a coloured log reads well.
_SEQUENCES = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b\n]*(?:\x07|\x1b\\\\)")
# Control characters, what turns the direction of text, line separators, half of a surrogate pair.
_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_REPLACEMENT = "\ufffd"
# What a job of GitHub Actions takes from its log for a command to the runner: `::name …` where a
# line begins, `##[name …]` anywhere in it.
_COMMANDS = re.compile(r"^\s*:(?=:)|#(?=#\[)", re.MULTILINE)


class TooMuchError(Exception):
    """A server sent more than any honest one does."""


def printable(text: str) -> str:
    """A text as a terminal may be given it: nothing in it moves a cursor, sets a title or lies
    about its order. Line ends and tabs stay; what cannot be shown is U+FFFD."""
    if text.isprintable():
        return text
    return _UNFIT.sub(_REPLACEMENT, _SEQUENCES.sub("", text))


def uncommanding(text: str) -> str:
    """A text as the log of a job may be given it: printable, and no command in it."""
    return _COMMANDS.sub(r"\g<0> ", printable(text))


def message(text: str) -> str:
    """A text on one line of at most MAX_MESSAGE characters, fit for a terminal and for a file."""
    return printable(" ".join(text[: 8 * MAX_MESSAGE].split()))[:MAX_MESSAGE]


def document(data: bytes) -> Any:
    """What JSON says. Halves of surrogate pairs, which no file takes, are replaced.

    Raises:
        ValueError: it is no JSON in UTF-8, or nests deeper than MAX_DEPTH, or has NaN, Infinity or
            a number that is as good as one of them.
    """
    text = data.decode("utf-8")
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    if "\\u" in text or text.count("[") + text.count("{") > MAX_DEPTH:
        return _fit(value, 0)
    return value


def count(value: object, otherwise: int | None = None) -> int | None:
    """A number of tokens, if it can be one."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS:
        return value
    return otherwise


def _fit(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError("it nests too deeply")
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [_fit(each, depth + 1) for each in value]
    if isinstance(value, dict):
        return {_fit(key, depth): _fit(each, depth + 1) for key, each in value.items()}
    return value


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number in JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text[:40])


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
