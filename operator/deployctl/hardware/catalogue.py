"""Finds hardware profiles: those shipped in deploy/profiles/, and a user's own file.

Reads YAML files and nothing else: no card is asked here (that is `deployctl.doctor`).
"""

import difflib
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from deployctl import assets
from deployctl.errors import ProfileError, SpecError
from deployctl.hardware.profile import GpuProfile, Interconnect
from deployctl.spec.yamlfile import read_documents

_SUFFIXES = (".yaml", ".yml", ".json")


def load_profile(name_or_path: str, *, where: str = "--gpu") -> GpuProfile:
    """Returns the profile of a name (`l4`), an alias (`4090`) or a file (`./my-card.yaml`).

    Names are matched without regard to case. What holds a `/` or ends like a YAML file is a path.
    `where` says in an error who named it.

    Raises:
        ProfileError: no such profile, or the file cannot be read or is wrong.
    """
    text = name_or_path.strip()
    if "/" in text or text.lower().endswith(_SUFFIXES):
        return read_profile(Path(text).expanduser())
    named = shipped() / f"{text.lower()}.yaml"
    if named.is_file():  # a profile's own name: the others need not be read, which takes a while
        return read_profile(named)
    known = {name: p for p in all_profiles() for name in (p.name, *p.aliases)}
    if text.lower() in known:
        return known[text.lower()]
    near = difflib.get_close_matches(text.lower(), known, n=1, cutoff=0.5)
    names = ", ".join(p.name for p in all_profiles())
    hint = f"did you mean {near[0]}? Known: {names}" if near else f"known: {names}"
    raise ProfileError(
        f"there is no hardware profile {name_or_path!r}",
        where=where,
        hint=f"{hint}; or give the path of a profile file",
    )


def all_profiles() -> list[GpuProfile]:
    """Returns the shipped profiles: GPUs by memory, the CPU last.

    Raises:
        ProfileError: a shipped file is broken.
    """
    return list(_all())


@cache
def _all() -> tuple[GpuProfile, ...]:
    profiles = [read_profile(file) for file in shipped().glob("*.yaml")]
    return tuple(sorted(profiles, key=lambda p: (p.kind == "cpu", p.memory_gib, p.name)))


def shipped() -> Path:
    """The folder of the shipped profiles: each is a file to start one's own from."""
    return assets.path("deploy", "profiles")


def read_profile(file: Path) -> GpuProfile:
    """Reads one profile file.

    Raises:
        ProfileError: the file cannot be read, is not YAML, or a value is wrong; `where` says
            which (`my.yaml: memory_gib`).
    """
    try:
        documents = read_documents(file)
    except SpecError as error:
        where = (error.where or str(file)).replace(": services/0", "")
        raise ProfileError(error.message, where=where, hint=_start_from()) from error
    if len(documents) > 1:
        raise ProfileError(
            f"the file holds {len(documents)} documents; a profile is one",
            where=str(file),
            hint="write each profile into a file of its own",
        )
    try:
        return GpuProfile.model_validate(documents[0])
    except ValidationError as error:
        problem = error.errors()[0]
        path = "/".join(str(part) for part in problem["loc"])
        raise ProfileError(
            _say(problem), where=f"{file}: {path}" if path else str(file), hint=_hint(problem)
        ) from error


def _say(problem: Any) -> str:
    if problem["type"] == "missing":
        return "a value is required"
    if problem["type"] == "extra_forbidden":
        return "there is no such field"
    message = str(problem["msg"]).removeprefix("Value error, ")
    given = problem["input"]
    if isinstance(given, str | int | float):
        message += f" (got {given!r})"
    return message[0].lower() + message[1:]


def _hint(problem: Any) -> str:
    field = str(problem["loc"][-1]) if problem["loc"] else ""
    inside = problem["loc"][:1] == ("interconnect",) and len(problem["loc"]) > 1
    fields = Interconnect.model_fields if inside else GpuProfile.model_fields
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(field, fields, n=1)
        return f"did you mean {near[0]}?" if near else "known: " + ", ".join(fields)
    described = fields.get(field)
    if described is not None and described.description:
        return f"{field} is in {described.description}"
    return _start_from()


def _start_from() -> str:
    try:
        return f"start from a copy of {shipped() / 'l4.yaml'}"
    except FileNotFoundError:
        return "deployctl profiles l4 shows what a profile holds"
