"""Compose files against what Compose takes, as `schema` does for objects: keys, values, names."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from deployctl import assets
from deployctl.checking.compose import ComposeService
from deployctl.checking.documents import Document, Place
from deployctl.checking.finding import Finding, check, rule
from deployctl.checking.manifests import Manifests
from deployctl.checking.values import items, mapping, size, text
from deployctl.errors import did_you_mean

KEY = rule("compose-key")
VALUE = rule("compose-value")
NAME = rule("compose-undefined")
TEXT, NUMBER, SWITCH, LIST, MAPPING = "text", "a number", "true or false", "a list", "a mapping"
_NOUNS = {"volumes": "volume", "networks": "network", "secrets": "secret", "configs": "config"}


@cache
def known_keys() -> dict[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The keys of each mapping with the kinds of value of each; no kinds where any will do.

    A mapping is named by its path, in which `*` is any name or any item of a list.
    """
    data = assets.table("deploy", "compose", "keys.yaml")
    known: dict[tuple[str, ...], dict[str, tuple[str, ...]]] = {
        tuple(path.split(".")) if path else (): dict.fromkeys(keys, ())
        for path, keys in data["mappings"].items()
    }
    known["services", "*"] = {
        key: tuple(group["kinds"]) for group in data["service"] for key in group["keys"]
    }
    return known


@check
def keys(manifests: Manifests) -> Iterator[Finding]:
    """Every mapping that we know, against its keys."""
    for project in manifests.projects:
        for path, known in known_keys().items():
            for place, value in _at(project.place(), project.data, path):
                for key in value:
                    if not isinstance(key, str) or key in known or key.startswith("x-"):
                        continue
                    fix = did_you_mean(key, known) or "remove it, or name it x-…"
                    yield KEY.at(place.child(key), f"Compose knows no {key[:60]} here", fix)


def _at(place: Place, value: Any, path: tuple[str, ...]) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The mappings that a path with `*` finds."""
    if not path:
        if isinstance(value, dict):
            yield place, value
        return
    first, rest = path[0], path[1:]
    if first != "*":
        yield from _at(place.child(first), mapping(value).get(first), rest)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _at(place.child(str(name)), item, rest)
    else:
        for index, item in enumerate(items(value)):
            yield from _at(place.child(index), item, rest)


@check
def values(manifests: Manifests) -> Iterator[Finding]:
    """Every key of a service, against the kinds that it takes."""
    known = known_keys()["services", "*"]
    for service in manifests.compose_services:
        for key, value in service.data.items():
            kinds = known.get(key, ())
            if value is None or not kinds:
                continue
            place = service.place.child(key)
            if not _is(value, kinds):
                fix = f"write {' or '.join(kinds)}"
                if kinds == (TEXT,) and isinstance(value, int | float):
                    unit = "s" if key == "stop_grace_period" else ""
                    fix = f'write {key}: "{value}{unit}"'
                yield VALUE.at(place, f"this is {_kind(value)}", fix)
            elif kinds == (NUMBER, TEXT) and not _amount(value):
                yield VALUE.at(place, "this is not an amount", "write 8gb or 4")


def _is(value: Any, kinds: tuple[str, ...]) -> bool:
    kind = _kind(value)
    # `no`, `on` and the like: text to Compose, a boolean to others. And a variable may be anything.
    return kind in kinds or (kind == SWITCH and TEXT in kinds) or "$" in text(value)


def _amount(value: Any) -> bool:
    given = text(value)
    try:
        return not given or "$" in given or size(given) is not None or float(given) > -1e9
    except ValueError:
        return False


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return SWITCH
    if isinstance(value, int | float):
        return NUMBER
    if isinstance(value, list):
        return LIST
    return MAPPING if isinstance(value, dict) else TEXT


@check
def names(manifests: Manifests) -> Iterator[Finding]:
    """Names that services use, against those that the project defines."""
    if any("include" in project.data for project in manifests.projects):
        return  # they may be defined in a file that is not here
    defined = {kind: _defined(manifests.projects, kind) for kind in (*_NOUNS, "services")}
    for service in manifests.compose_services:
        for kind, place, name in _used(service):
            if name in defined[kind] or "$" in name:
                continue
            near = did_you_mean(name, defined[kind])
            if kind == "services":
                fix = near or "remove it, or write the service"
                yield NAME.at(place, f"there is no service {name[:60]}", fix)
            else:
                fix = near or f"write {kind}: {{{name[:60]}: …}} at the top"
                yield NAME.at(place, f"the {_NOUNS[kind]} {name[:60]} is not defined", fix)


def _defined(projects: list[Document], kind: str) -> set[str]:
    names = {str(name) for project in projects for name in mapping(project.data.get(kind))}
    return names | ({"default"} if kind == "networks" else set())


def _used(service: ComposeService) -> Iterator[tuple[str, Place, str]]:
    """What a service refers to: the section, the place, the name."""
    for index, item in enumerate(items(service.data.get("volumes"))):
        place = service.place.child("volumes", index)
        if isinstance(item, dict):
            if item.get("type") == "volume" and text(item.get("source")):
                yield "volumes", place.child("source"), item["source"]
        elif ":" in text(item):
            source = item.partition(":")[0]
            if len(source) > 1 and source[0] not in "./~\\$":
                yield "volumes", place, source
    for kind in ("secrets", "configs"):
        for index, item in enumerate(items(service.data.get(kind))):
            place = service.place.child(kind, index)
            name = text(item) or text(mapping(item).get("source"))
            if name:
                yield kind, place, name
    for key, kind in (("networks", "networks"), ("depends_on", "services")):
        given = service.data.get(key)
        names = given if isinstance(given, dict) else dict.fromkeys(map(str, items(given)))
        for index, name in enumerate(names):
            inner: str | int = str(name) if isinstance(given, dict) else index
            yield kind, service.place.child(key, inner), str(name)
