"""Two sides of one service, rendered: what changes, and what that does to what runs. Pure.

Documents are compared by their fields. A list of arguments is no list to a person:
`--max-model-len 8192` becoming `16384` is one change, wherever the words stand. Lists of mappings
go by the name that Kubernetes merges them by, and plain lists are compared whole.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deployctl.boundedyaml import parse
from deployctl.checking import effects
from deployctl.checking.commandline import Word, command_line, parse_words
from deployctl.checking.documents import Document, Place, documents
from deployctl.checking.effects import Effect, Field, Verdict
from deployctl.checking.values import dig
from deployctl.secretive import is_named_so

# Labels that follow from all the rest, and files that follow from another.
_FOLLOW = ("io.deployctl.digest", "io.deployctl.revision")
_FOLLOWING_FILES = ("run.sh", "README.md", "kustomization.yaml")
# The door before an engine: one of its files says what it lets in, the others are code.
_DOOR, _DOOR_SETTINGS = "door/", "door/door.json"
_AT_THE_DOOR = "the door reads it when the engine starts"
_GATEWAY = "gateway.json"  # what a service wants of a host's gateway
_DATA = (".yaml", ".yml", ".json")
_GRAVITY = list(Effect)
_ARGUMENTS = ("args", "arguments", "command")  # where an engine's words may stand
_NAMES = ("name", "mountPath", "containerPort", "port", "target", "key", "topologyKey", "alert")


@dataclass(frozen=True)
class Difference:
    """One field that differs. A value is None where the field is not there."""

    file: str
    where: str  # Deployment/chat: spec.replicas
    old: Any
    new: Any
    effect: Effect
    why: str
    drift: bool = False  # set in the cluster by somebody else since


def compare(old: Mapping[str, str], new: Mapping[str, str], target: str) -> list[Difference]:
    """Compares the files of two bundles of one target; gravest changes first."""
    changes = _door(old, new)
    old, new = _without_code(old, new), _without_code(new, old)
    left, right = _documents(old), _documents(new)
    digests = [_digest(side.values()) for side in (left, right)]
    differs = digests[0] != digests[1] if all(digests) else None
    for key in [*right, *(key for key in left if key not in right)]:
        before, after = left.get(key), right.get(key)
        if before is not None and after is not None:
            changes += _fields(before, after, target, digest_differs=differs)
        else:
            changes.append(_whole(before, after, target))
    changes += _texts(old, new, target)
    if differs and not any(c.effect is Effect.restarts for c in changes):
        name = next((f for f in new if f.endswith(_DATA)), "")
        why = "the label changes, and with it the container; what else differs does not show here"
        where = f"services.engine.labels.{_FOLLOW[0]}"
        changes.append(Difference(name, where, digests[0], digests[1], Effect.restarts, why))
    return sorted(changes, key=lambda c: (_GRAVITY.index(c.effect), c.file, c.where))


def _door(old: Mapping[str, str], new: Mapping[str, str]) -> list[Difference]:
    """The door's code, as one change however many files it is in."""
    was, now = _code(old), _code(new)
    if was == now:
        return []
    return [Difference("door", "code", was, now, Effect.restarts, _AT_THE_DOOR)]


def _code(files: Mapping[str, str]) -> str | None:
    """Names the door's code by its content; None where there is no door."""
    code = {f: t for f, t in files.items() if f.startswith(_DOOR) and f.endswith(".py")}
    if not code:
        return None
    return hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()[:12]


def _without_code(files: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """What is compared field by field: also the door's settings, where both sides have a door."""
    settings = _DOOR_SETTINGS in files and _DOOR_SETTINGS in others
    return {
        file: text
        for file, text in files.items()
        if not file.startswith(_DOOR) or (settings and file == _DOOR_SETTINGS)
    }


def worst(changes: list[Difference]) -> Effect | None:
    """The gravest effect; None when nothing differs."""
    return min((c.effect for c in changes), key=_GRAVITY.index, default=None)


def _documents(files: Mapping[str, str]) -> dict[tuple[str, ...], Document]:
    """The documents of data files, each by what makes it the same one on both sides."""
    known: dict[tuple[str, ...], Document] = {}
    for file, text in files.items():
        name = file.rsplit("/", 1)[-1]
        if not file.endswith(_DATA) or name in _FOLLOWING_FILES or _in_chart(file):
            continue
        for document in documents(file, parse(text)[0]):
            if document.family == "kubernetes":
                known["object", document.group, document.kind, document.name] = document
            else:
                known["file", document.file, str(document.index)] = document
    return known


def _in_chart(file: str) -> bool:
    return file.startswith("chart/")


def _digest(known: Iterable[Document]) -> str | None:
    """The digest label of deployctl's own Compose file."""
    for document in known:
        if document.family == "compose":
            value = dig(document.data, "services", "engine", "labels", _FOLLOW[0])
            return value if isinstance(value, str) else None
    return None


def _fields(
    before: Document, after: Document, target: str, *, digest_differs: bool | None
) -> Iterator[Difference]:
    old, new = _fields_of(before), _fields_of(after)
    for path in [*new, *(path for path in old if path not in new)]:
        if path and path[-1] in _FOLLOW:
            continue
        was, now = old.get(path), new.get(path)
        same = was == now or (was != was and now != now)  # two times NaN
        if same and (path in old) == (path in new):
            continue
        verdict = _verdict(after, path, was, now, target, digest_differs=digest_differs)
        if _secret(after, path):
            was, now = (None if value is None else "(secret)" for value in (was, now))
        yield Difference(after.file, _where(after, path), was, now, verdict.effect, verdict.why)


def _secret(document: Document, path: Field) -> bool:
    return document.kind == "Secret" or is_named_so(str(path[-1]) if path else "")


def _verdict(
    document: Document,
    path: Field,
    old: Any,
    new: Any,
    target: str,
    *,
    digest_differs: bool | None,
) -> Verdict:
    if not path:
        return effects.NOTHING
    if document.file == _DOOR_SETTINGS:
        return Verdict(Effect.restarts, _AT_THE_DOOR)
    if document.file == _GATEWAY:
        return Verdict(Effect.in_place, "the gateway does it, and the engine serves on")
    if document.family == "kubernetes":
        return effects.of_object(document, path, old, new)
    if document.family == "compose":
        return effects.of_compose(path, digest_differs=digest_differs)
    if document.family == "command":
        return Verdict(Effect.restarts, "the process starts with another command")
    if target == "helm":
        return effects.of_values(path)
    return effects.NOTHING


def _where(document: Document, path: Field) -> str:
    words = ""
    for part in path:
        if part.startswith("["):
            words += part
        elif part.startswith("--"):
            words += f" {part}"
        else:
            words += f".{part}" if words else part
    if document.family == "kubernetes":
        return f"{document.title}: {words}"
    return words


def _whole(before: Document | None, after: Document | None, target: str) -> Difference:
    document = after or before
    assert document is not None
    effect, why = Effect.in_place, "the whole file"
    if document.family in ("compose", "command"):
        effect = Effect.restarts
    elif document.family == "kubernetes" and after is not None:
        why = "is made"
    elif target == "kubernetes":
        why = "no longer part of it: Helm removes it"
    elif document.family == "kubernetes":
        why = "no longer rendered: Argo CD and Flux prune it, kubectl apply keeps it"
    old, new = (None if side is None else "present" for side in (before, after))
    return Difference(document.file, document.title, old, new, effect, why)


def _texts(old: Mapping[str, str], new: Mapping[str, str], target: str) -> Iterator[Difference]:
    """Files that are no data: told as changed or not."""
    for file in sorted({*old, *new}):
        if (file.endswith(_DATA) and not _in_chart(file)) or old.get(file) == new.get(file):
            continue
        if file.rsplit("/", 1)[-1] in _FOLLOWING_FILES:
            continue
        old_there, new_there = (None if file not in side else "present" for side in (old, new))
        if target == "helm" and _in_chart(file):
            verdict = Verdict(Effect.in_place, "the chart itself; its objects show the effect")
        else:
            verdict = effects.NOTHING
        yield Difference(file, "", old_there, new_there, verdict.effect, verdict.why)


def _fields_of(document: Document) -> dict[Field, Any]:
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
        given = [item.get(key) for item in value]
        names = [str(name) for name in given if isinstance(name, str | int) and name != ""]
        if len(set(names)) == len(value):
            return names
    return []


def _engine_words(value: list[Any]) -> bool:
    words = [str(item) for item in value]
    return any(word.startswith("--") for word in words) and "-c" not in words


def _flags(value: list[Any], path: Field, document: Document) -> Iterator[tuple[Field, Any]]:
    words = [Word(str(item), Place(document)) for item in value]
    command = command_line([], words, engine_image=False)
    if not command.serves:
        command = parse_words(words)
    else:
        first = next((i for i, word in enumerate(words) if word.text.startswith("--")), -1)
        yield path, " ".join(word.text for word in words[:first])
    if command.model is not None and "model" not in command.flags:
        yield (*path, "MODEL"), command.model.text
    for name, flag in command.flags.items():
        yield (*path, f"--{name}"), " ".join(word.text for word in flag.values)
