"""A document as fields that can be compared: a flag, a variable, a port each by its own name.

A list of arguments is no list to a person: `--max-model-len 8192` becoming `16384` is one
change, wherever the words stand. Lists of mappings go by the name that Kubernetes merges them
by, and plain lists are compared whole.
"""

from collections.abc import Iterator
from typing import Any

from deployctl.checking.commandline import Word, command_line, parse_words
from deployctl.checking.documents import Document, Place
from deployctl.checking.walk import mapping

Field = tuple[str, ...]  # the path, as words
_ARGUMENTS = ("args", "arguments", "command")  # where an engine's words may stand
_NAMES = ("name", "mountPath", "containerPort", "port", "target", "key", "topologyKey", "alert")


def fields(document: Document) -> dict[Field, Any]:
    """Every field of a document, by path."""
    return dict(_walk(document.data, (), document))


def _walk(value: Any, path: Field, document: Document) -> Iterator[tuple[Field, Any]]:
    if isinstance(value, dict):
        if not value and path:
            yield path, {}
        for key, item in value.items():
            yield from _walk(item, (*path, key), document)
    elif isinstance(value, list) and path and path[-1] in _ARGUMENTS and _engine_words(value):
        yield from _flags(value, path, document)
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        names = _names(value)
        for index, item in enumerate(value):
            if names and set(item) == {"name", "value"}:
                yield (*path, names[index]), item["value"]
            else:
                word = names[index] if names else str(index)
                yield from _walk(item, (*path, f"[{word}]"), document)
    else:
        yield path, value


def _names(value: list[dict[str, Any]]) -> list[str]:
    """What tells the items of a list apart; nothing when they have no such name."""
    for key in _NAMES:
        found = [item.get(key) for item in value]
        if all(isinstance(n, str | int) and n != "" for n in found):
            words = [str(n) for n in found]
            if len(set(words)) == len(words):
                return words
    return []


def _engine_words(value: list[Any]) -> bool:
    words = [str(item) for item in value]
    return any(word.startswith("--") for word in words) and "-c" not in words


def _flags(value: list[Any], path: Field, document: Document) -> Iterator[tuple[Field, Any]]:
    words = [Word(str(item), Place(document)) for item in value]
    command = command_line([], words, engine_image=False)
    if not command.found:
        command = parse_words(words)
    else:
        yield path, " ".join(w.text for w in words[: words.index(_first_flag(words))])
    if command.model is not None and "model" not in command.flags:
        yield (*path, "MODEL"), command.model.text
    for name, flag in command.flags.items():
        yield (*path, f"--{name}"), " ".join(word.text for word in flag.values)


def _first_flag(words: list[Word]) -> Word:
    return next((w for w in words if w.text.startswith("--")), words[-1])


def identity(document: Document) -> tuple[str, ...]:
    """What makes two documents of two sides the same one."""
    if document.family == "kubernetes":
        return ("object", document.group, document.kind, document.name)
    return ("file", document.file, str(document.index))


def strategy(document: Document) -> tuple[str, Any, int]:
    """A workload's way to update: type, maxSurge, replicas."""
    spec = mapping(document.spec.get("strategy"))
    rolling = mapping(spec.get("rollingUpdate"))
    replicas = document.spec.get("replicas", 1)
    count = replicas if isinstance(replicas, int) else 1
    return str(spec.get("type", "RollingUpdate")), rolling.get("maxSurge", "25%"), count
