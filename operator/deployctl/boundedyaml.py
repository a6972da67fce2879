"""YAML as people and servers write it, with the place of every value, and no way to exhaust us.

A broken document does not hide the others of its file. Built from the parser's events rather
than by a loader, because that is where nesting, aliases and size can be bounded.
"""

import json
import re
from typing import Any, NamedTuple

import yaml

Path = tuple[str | int, ...]  # of a value: keys and places in lists

MAX_BYTES = 4 * 1024 * 1024  # of one file
MAX_DEPTH = 100
MAX_NODES = 300_000  # of one document, with every alias counted as what it stands for
MAX_DOCUMENTS = 5000

_SEPARATOR = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_INDENT = re.compile(r"^\t+", re.MULTILINE)
_PAIR = re.compile(
    r"(?<!\\)((?:\\\\)*)(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_DIRECTIVE = re.compile(r"^%.*$", re.MULTILINE)
_RESOLVER: Any = yaml.resolver.Resolver()
# The parser in C, where PyYAML has it: ten times as fast, and as safe.
PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_YES = frozenset({"true", "yes", "on"})
_TAG = "tag:yaml.org,2002:"


class Parsed(NamedTuple):
    """One document. `lines` has the line of every key and item, by path; `columns` the column, and
    `blocks`, of a text below a `|`, the line that it begins at.
    Both count from 1."""

    data: Any
    line: int
    lines: dict[Path, int]
    columns: dict[Path, int]
    blocks: dict[Path, int]


class Trouble(NamedTuple):
    """Why a document, or a part of it, cannot be read."""

    line: int
    message: str
    kind: str  # syntax, duplicate, size, template, or tag where tags are refused
    column: int = 1


def value_of(text: str) -> Any:
    """What a flag's value is in YAML, such as a number or a list; the text itself where it is no
    YAML, or begins as a tag does (`!foo bar`)."""
    documents, troubles = parse(text, tags=False)
    if troubles or len(documents) > 1 or _DIRECTIVE.search(text):
        return text
    return documents[0].data if documents else None


def parse(
    text: str, *, most: int = MAX_NODES, tags: bool = True
) -> tuple[list[Parsed], list[Trouble]]:
    """Reads every document that can be read, and says what is wrong with the others.

    `most`: values of one document. Without `tags`, one that is not YAML's own is a trouble.
    """
    documents: list[Parsed] = []
    troubles: list[Trouble] = []
    text = _json_as_yaml(text) if text.lstrip().startswith(("{", "[")) else text
    for index, (first_line, piece) in enumerate(_pieces(text)):
        if index >= MAX_DOCUMENTS:
            troubles.append(Trouble(first_line, f"more than {MAX_DOCUMENTS} documents", "size"))
            break
        composer = _Composer(piece, first_line, most, tags=tags)
        try:
            document = composer.document()
        except _TooMuchError as error:
            troubles.append(Trouble(error.line, str(error), "size"))
        except yaml.YAMLError as error:
            troubles.append(_syntax(error, piece, first_line))
        else:
            troubles += composer.troubles
            if document is not None:
                documents.append(document)
    return documents, troubles


def _json_as_yaml(text: str) -> str:
    """JSON without the two things of it that YAML does not take: tabs before a line's text, and a
    character above U+FFFF written as two."""
    text = _INDENT.sub(lambda tabs: " " * len(tabs[0]), text)
    return _PAIR.sub(lambda pair: pair[1] + json.loads(f'"{pair[2]}"'), text)


def _pieces(text: str) -> list[tuple[int, str]]:
    """Cuts at the markers, which can stand in no scalar; with the line each piece begins at."""
    cuts = [0, *(m.end() for m in _SEPARATOR.finditer(text))]
    starts = [*(m.start() for m in _SEPARATOR.finditer(text)), len(text)]
    pieces = []
    line, position = 1, 0
    for cut, end in zip(cuts, starts, strict=True):
        line += text.count("\n", position, cut)
        position = cut
        piece = _DIRECTIVE.sub("", text[cut:end])
        if piece.strip():
            pieces.append((line, piece))
    return pieces


def _syntax(error: yaml.YAMLError, piece: str, first_line: int) -> Trouble:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = first_line + (mark.line if mark else 0)
    if "{{" in piece:
        return Trouble(line, "this is a template and no YAML yet", "template")
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    if "nesting depth" in problem:  # libyaml's own limit of 1000, where the parser looks ahead
        return Trouble(line, f"nested more than {MAX_DEPTH} deep", "size")
    return Trouble(line, f"not YAML: {problem}", "syntax", mark.column + 1 if mark else 1)


class _TooMuchError(Exception):
    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class _Composer:
    """Builds one document from events."""

    def __init__(self, text: str, first_line: int, most: int, *, tags: bool) -> None:
        self._events: Any = yaml.parse(text, Loader=PARSER)
        self._first_line = first_line
        self._most, self._tags = most, tags
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0
        self.troubles: list[Trouble] = []
        self.lines: dict[Path, int] = {}
        self.columns: dict[Path, int] = {}
        self.blocks: dict[Path, int] = {}

    def document(self) -> Parsed | None:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent | yaml.StreamStartEvent):
                continue
            if isinstance(event, yaml.StreamEndEvent | yaml.DocumentEndEvent):
                return None
            line = self._line(event)
            data = self._value(event, (), 0)
            for rest in self._events:  # what follows may be broken too
                if isinstance(rest, yaml.DocumentStartEvent) and rest.explicit:
                    break
            return (
                None if data is None else Parsed(data, line, self.lines, self.columns, self.blocks)
            )
        return None

    def _line(self, event: Any) -> int:
        return self._first_line + int(event.start_mark.line)

    def _at(self, event: Any) -> int:
        return int(event.start_mark.column) + 1

    def _count(self, nodes: int, event: Any) -> None:
        self._nodes += nodes
        if self._nodes > self._most:
            raise _TooMuchError(f"more than {self._most} values", self._line(event))

    def _value(self, event: Any, path: Path, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise _TooMuchError(f"nested more than {MAX_DEPTH} deep", self._line(event))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self._nodes
        self._count(1, event)
        if not self._tags and event.tag not in (None, "!") and not event.tag.startswith(_TAG):
            message = f"the tag {event.tag[:80]} is not known here"
            self.troubles.append(Trouble(self._line(event), message, "tag", self._at(event)))
        if isinstance(event, yaml.ScalarEvent):
            value: Any = _scalar(event)
            if event.style == "|":
                self.blocks[path] = self._line(event) + 1
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(path, depth)
        else:
            value = self._mapping(path, depth)
        if event.anchor:
            self._anchors[event.anchor] = (value, self._nodes - before)
        return value

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            raise yaml.composer.ComposerError(
                None, None, f"nothing is called &{event.anchor} before this", event.start_mark
            )
        value, nodes = self._anchors[event.anchor]
        self._count(nodes, event)
        return value

    def _sequence(self, path: Path, depth: int) -> list[Any]:
        entries: list[Any] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            here = (*path, len(entries))
            self.lines[here], self.columns[here] = self._line(event), self._at(event)
            entries.append(self._value(event, here, depth + 1))
        return entries

    def _mapping(self, path: Path, depth: int) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        merged: list[Any] = []
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if not isinstance(event, yaml.ScalarEvent):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be plain text", event.start_mark
                )
            key, line, column = str(event.value), self._line(event), self._at(event)
            self._count(1, event)
            here = (*path, key)
            value = self._value(next(self._events), here, depth + 1)
            if key == "<<" and event.implicit[0]:
                merged += value if isinstance(value, list) else [value]
                continue
            if key in entries:
                self.troubles.append(
                    Trouble(line, f"the key {key[:80]!r} is written twice", "duplicate", column)
                )
            self.lines[here], self.columns[here] = line, column
            entries[key] = value
        for value in merged:
            if isinstance(value, dict):
                self._count(len(value), event)
                entries = {**value, **entries}
        return entries


def _scalar(event: Any) -> Any:
    """Resolves a scalar as Kubernetes and Compose do: no dates, no base 60."""
    text: str = event.value
    tag = event.tag
    if tag is None or tag == "!":
        if not event.implicit[0]:
            return text
        tag = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))
    kind = str(tag).removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in _YES
    if kind in ("int", "float") and ":" not in text and len(text) < 100:
        return _number(text.replace("_", ""), kind)
    return text


def _number(text: str, kind: str) -> int | float | str:
    try:
        if kind == "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        digits = text.lstrip("+-")
        octal = len(digits) > 1 and digits.startswith("0") and digits.isdecimal()
        return int(text, 8) if octal else int(text, 0)
    except ValueError:
        return text
