"""Compose files against what Compose takes: keys, kinds of values, names that are defined."""

import difflib
from collections.abc import Iterator
from typing import Any

from deployctl.checking import composekeys
from deployctl.checking.compose import ComposeService, Project
from deployctl.checking.composekeys import LIST, MAPPING, NUMBER, SWITCH, TEXT
from deployctl.checking.documents import Place
from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.quantity import size
from deployctl.checking.scene import Scene
from deployctl.checking.walk import items, mapping, text

GROUP = "Compose"
KEY = rule(
    "compose-key",
    Severity.error,
    "Compose refuses a file with a key that it does not know.",
    group=GROUP,
)
VALUE = rule(
    "compose-value",
    Severity.error,
    "Compose refuses a value of another kind: a number where text is wanted, a mapping for a list.",
    group=GROUP,
)
NAME = rule(
    "compose-undefined",
    Severity.error,
    "Compose refuses a service that refers to a volume, network, secret, configuration or service "
    "that the project does not have.",
    group=GROUP,
)
_NOUNS = {"volumes": "volume", "networks": "network", "secrets": "secret", "configs": "config"}


@check
def keys(scene: Scene) -> Iterator[Finding]:
    """Every mapping that we know, against its keys."""
    for project in scene.projects:
        data = project.document.data
        for path, known in composekeys.KEYS.items():
            for place, found in _at(project.document.place(), data, path):
                for key in found:
                    if not isinstance(key, str) or key in known or key.startswith("x-"):
                        continue
                    near = difflib.get_close_matches(key, sorted(known), n=1)
                    fix = f"did you mean {near[0]}?" if near else "remove it, or name it x-…"
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
def values(scene: Scene) -> Iterator[Finding]:
    """Every key of a service, against the kinds that it takes."""
    for project in scene.projects:
        for service in project.services:
            for key, value in service.data.items():
                kinds = composekeys.SERVICE.get(key, ())
                if value is None or not kinds:
                    continue
                if _is(value, kinds):
                    if kinds == (NUMBER, TEXT) and not _amount(value):
                        yield VALUE.at(
                            service.place.child(key), "this is no amount", "write 8gb or 4"
                        )
                    continue
                fix = f"write {' or '.join(kinds)}"
                if kinds == (TEXT,) and isinstance(value, int | float):
                    unit = "s" if key == "stop_grace_period" else ""
                    fix = f'write {key}: "{value}{unit}"'
                yield VALUE.at(service.place.child(key), f"this is {_kind(value)}", fix)


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
def names(scene: Scene) -> Iterator[Finding]:
    """Names that services use, against those that the project defines."""
    if any("include" in project.document.data for project in scene.projects):
        return  # they may be defined in a file that is not here
    defined = {kind: _defined(scene.projects, kind) for kind in (*_NOUNS, "services")}
    for project in scene.projects:
        for service in project.services:
            for kind, place, name in _used(service):
                if name in defined[kind] or "$" in name:
                    continue
                if kind == "services":
                    fix = _nearest(name, defined[kind]) or "remove it, or write the service"
                    yield NAME.at(place, f"there is no service {name[:60]}", fix)
                    continue
                fix = (
                    _nearest(name, defined[kind]) or f"write {kind}: {{{name[:60]}: …}} at the top"
                )
                yield NAME.at(place, f"the {_NOUNS[kind]} {name[:60]} is not defined", fix)


def _nearest(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"did you mean {near[0]}?" if near else ""


def _defined(projects: list[Project], kind: str) -> set[str]:
    found = {str(n) for project in projects for n in mapping(project.document.data.get(kind))}
    return found | ({"default"} if kind == "networks" else set())


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
        found = given if isinstance(given, dict) else dict.fromkeys(map(str, items(given)))
        for index, name in enumerate(found):
            inner: str | int = str(name) if isinstance(given, dict) else index
            yield kind, service.place.child(key, inner), str(name)
