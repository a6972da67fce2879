"""Compose projects: their services, and the engines among them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deployctl.checking.commandline import Word, command_line
from deployctl.checking.documents import Document, Place
from deployctl.checking.engine import DeclaredEngine, EnvVar, Mount, image
from deployctl.checking.values import dig, items, mapping, size, text

_DEFAULTED = re.compile(r"\$\{[A-Za-z_]\w*:?-([^${}]*)\}")


@dataclass(frozen=True, eq=False)
class ComposeService:
    """One service of a project."""

    name: str
    place: Place
    data: dict[str, Any]


def services_of(project: Document) -> list[ComposeService]:
    """The services of a Compose file."""
    return [
        ComposeService(name, project.place("services", name), mapping(data))
        for name, data in mapping(project.data.get("services")).items()
    ]


def literal(value: Any) -> str:
    """A text as Compose will read it: `$$` is a dollar, and a default stands in."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        return ""
    given = str(value)
    default = _DEFAULTED.fullmatch(given)
    return default[1] if default else given.replace("$$", "$")


def engine_of_service(service: ComposeService, version: str | None) -> DeclaredEngine | None:
    """The vLLM server that a service is; `version` is for images that do not tell."""
    data = service.data
    reference = image(literal(data.get("image")))
    command = command_line(
        _words(service, "entrypoint"), _words(service, "command"), engine_image=reference.is_engine
    )
    if not command.serves:
        return None
    user = literal(data.get("user")).partition(":")[0]
    return DeclaredEngine(
        place=service.place,
        data=data,
        image=reference,
        image_place=service.place.child("image"),
        command=command,
        env=environment(service),
        env_complete="env_file" not in data,
        version=reference.version or version,
        mounts=tuple(_mounts(data)),
        user=int(user) if user.isdecimal() and len(user) < 12 else None,
        non_root=bool(user) and not user.isdecimal() and user != "root",
        read_only_root=data.get("read_only") is True,
    )


def _words(service: ComposeService, key: str) -> list[Word]:
    value = service.data.get(key)
    place = service.place.child(key)
    if isinstance(value, str):
        try:
            return [Word(w, place) for w in shlex.split(literal(value))]
        except ValueError:
            return [Word(w, place) for w in value.split()]
    return [
        Word(literal(item), place.child(index))
        for index, item in enumerate(items(value))
        if isinstance(item, str | int | float)
    ]


def environment(service: ComposeService) -> dict[str, EnvVar]:
    """A service's environment, in either of Compose's spellings."""
    given = service.data.get("environment")
    place = service.place.child("environment")
    variables = {
        name: EnvVar(None if value is None else _unless_variable(literal(value)), place.child(name))
        for name, value in mapping(given).items()
    }
    for index, item in enumerate(items(given)):
        name, equals, value = text(item).partition("=")
        known = _unless_variable(literal(value)) if equals else None
        variables[name] = EnvVar(known, place.child(index))
    return variables


def _unless_variable(value: str) -> str | None:
    return None if re.search(r"\$\{?[A-Za-z_]", value) else value


def _mounts(data: dict[str, Any]) -> Iterator[Mount]:
    for item in items(data.get("volumes")):
        if isinstance(item, dict):
            path, source = text(item.get("target")), text(item.get("source"))
            kind = "readonly" if item.get("read_only") is True else "kept"
            if item.get("type") == "tmpfs" or (item.get("type") == "volume" and not source):
                kind = "scratch"
            yield Mount(path, kind)
        elif isinstance(item, str):
            parts = item.split(":")
            if len(parts) > 2 and len(parts[0]) == 1 and parts[0].isalpha():
                parts = [":".join(parts[:2]), *parts[2:]]  # C:/folder:/path
            mode = parts[2] if len(parts) > 2 else ""
            named = len(parts) > 1
            kind = "readonly" if "ro" in mode.split(",") else "kept" if named else "scratch"
            yield Mount(parts[1] if named else parts[0], kind)
    tmpfs = data.get("tmpfs")
    for item in [tmpfs] if isinstance(tmpfs, str) else items(tmpfs):
        yield Mount(text(item).partition(":")[0], "scratch")
    shm = size(data.get("shm_size"))
    if shm is not None:
        yield Mount("/dev/shm", "memory", shm)  # noqa: S108  inside the container


def reservations(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The devices that a service reserves, in any of Compose's spellings."""
    deployed = items(dig(data, "deploy", "resources", "reservations", "devices"))
    gpus = data.get("gpus")
    return [
        *map(mapping, deployed),
        *([{"count": "all", "capabilities": ["gpu"]}] if gpus == "all" else []),
        *({"capabilities": ["gpu"], **mapping(gpu)} for gpu in items(gpus)),
    ]
