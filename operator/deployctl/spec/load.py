"""Reads specs: flags over environment over file over defaults.

Files are YAML as users write it: several documents, no duplicate keys, errors with a line.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from deployctl.boundedyaml import parse
from deployctl.errors import InputError, SpecError, did_you_mean
from deployctl.given import read_text
from deployctl.spec.option import flag_of
from deployctl.spec.service import NAMESPACE_RULE, ServiceSpec

ENV_PREFIX = "DEPLOYCTL_"
MAX_BYTES = 1024 * 1024  # a spec file of more is a mistake
MAX_VALUES = 50_000  # of one document, with every alias counted as what it stands for
FLEET = "fleet"  # the key of the one document that is no service: the host's cards
# What people look for in a file, and is of one call of a verb.
_OF_THE_COMMAND = ("beside", "host", "slo", "tuned", "verify")
_SHOWN = 100  # characters of a wrong value in a message
# What pydantic calls by the names of Python's types, and of our own.
_WORDS = {
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "should be a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "should be a mapping"),
}


def load_specs(files: Sequence[Path], flags: Mapping[str, Any]) -> list[ServiceSpec]:
    """Reads every document of `files` (one service each), or one service from flags alone.

    Raises:
        SpecError: a file cannot be read, or a value is wrong; `where` says which.
    """
    environment = _from_environment()
    documents: list[tuple[str, dict[str, Any]]] = []
    for file in files:
        services = [each for each in read_documents(file) if FLEET not in each]
        if not services:
            hint = "write model: … in a document of its own, behind ---"
            raise SpecError("the file has no service", where=str(file), hint=hint)
        for index, document in enumerate(services):
            documents.append((f"{file}: services/{index}", document))
    if not documents:
        documents = [("", {})]
    specs = [_build(where, document, environment, flags) for where, document in documents]
    _refuse_twins(specs, [where for where, _ in documents])
    return specs


def from_environment() -> set[str]:
    """The fields of a spec that the environment sets, by name; engine arguments by theirs.

    Raises:
        SpecError: a variable's value does not fit.
    """
    fields = _from_environment()
    return fields.keys() | set(fields.get("engine_args") or ())


def _from_environment() -> dict[str, Any]:
    """Lets pydantic-settings say which of a spec's fields the environment sets.

    Its import takes as long as a plan, so it waits until there is something to read.
    """
    names = {ENV_PREFIX + name.upper() for name in ServiceSpec.model_fields}
    if not names & {name.upper() for name in os.environ}:
        return {}
    from pydantic import create_model
    from pydantic_settings import BaseSettings, SettingsConfigDict
    from pydantic_settings.exceptions import SettingsError

    class Variables(BaseSettings):
        model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore")

    fields = {
        name: (field.annotation | None, None)  # type: ignore[operator]
        for name, field in ServiceSpec.model_fields.items()
    }
    model = create_model("EnvironmentSpec", __base__=Variables, **fields)  # type: ignore[call-overload]
    try:
        return dict(model().model_dump(exclude_unset=True))
    except ValidationError as error:
        first = error.errors()[0]
        name = ENV_PREFIX + str(first["loc"][0]).upper()
        raise SpecError(
            complaint(first), where=name, hint=f"unset {name}, or give it a value that fits"
        ) from error
    except SettingsError as error:
        raise SpecError(
            str(error), where=f"{ENV_PREFIX}*", hint="lists and maps are written as JSON"
        ) from error


def problems(document: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str, str]]:
    """Everything wrong with one service of a file: path, message and hint. Flags aside."""
    try:
        ServiceSpec.model_validate(dict(document))
    except ValidationError as error:
        return [
            (e["loc"], complaint(e), _hint(e, str(e["loc"][0]) if e["loc"] else ""))
            for e in error.errors()
        ]
    return []


def _build(
    where: str,
    document: dict[str, Any],
    environment: Mapping[str, Any],
    flags: Mapping[str, Any],
) -> ServiceSpec:
    merged = {**document, **environment, **flags}
    try:
        return ServiceSpec.model_validate(merged)
    except ValidationError as error:
        # A value that is missing may be under a key that is misspelt.
        first = min(error.errors(), key=lambda each: each["type"] == "missing")
        field = str(first["loc"][0]) if first["loc"] else ""
        path = "/".join(str(part) for part in first["loc"])
        flag = "--" + path.replace("_", "-")
        if field in ServiceSpec.model_fields:  # its flag may have another name
            flag = "/".join([flag_of(ServiceSpec, field), *map(str, first["loc"][1:])])
        place = f"{where}/{path}" if where else flag
        if field in flags:
            place = flag
        elif field in environment:
            place = ENV_PREFIX + field.upper()
        raise SpecError(complaint(first), where=place, hint=_hint(first, field)) from error


def complaint(problem: Any, what: str = "setting") -> str:
    """Says one of pydantic's errors (`ValidationError.errors()`) in our words.

    `what` is the word for what the document has: settings, values, fields.
    """
    if problem["type"] == "missing":
        return "a value is required"
    if problem["type"] == "extra_forbidden":
        return f"there is no such {what}"
    if problem["type"] == "too_short":
        has, least = (problem["ctx"][f"{which}_length"] for which in ("actual", "min"))
        return f"has {has} items, and should have at least {least}"
    if problem["type"] == "string_pattern_mismatch":
        return f"{_shown(problem['input'])} does not match the pattern {problem['ctx']['pattern']}"
    message = _WORDS.get(problem["type"]) or str(problem["msg"]).removeprefix("Value error, ")
    given = problem.get("input")
    if isinstance(given, str | int | float | bool):
        message += f" (got {_shown(given)})"
    return message[0].lower() + message[1:]


def _shown(value: object) -> str:
    if isinstance(value, str) and "://" in value:
        value = value.partition("?")[0]  # behind it may be a key
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _hint(problem: Any, field: str) -> str:
    if problem["type"] == "missing" and field == "model":
        return "give --model FOLDER_OR_HUB_ID, or a file with -f"
    if problem["type"] == "extra_forbidden":
        if field in _OF_THE_COMMAND:
            return f"it is said on the command line alone: --{field}"
        unknown = "engine flags that deployctl has no setting for go under engine_args"
        return did_you_mean(field, [*ServiceSpec.model_fields, FLEET]) or unknown
    if field == "name":
        return "a name is a DNS label: lower-case letters, digits and dashes, 40 at most"
    if field == "namespace":
        return NAMESPACE_RULE
    if field == "domain":
        return (
            "a name alone: no https:// before it, no port, path or dot behind it, no *, no address "
            "of numbers; one with letters such as ü in its form xn--…"
        )
    described = ServiceSpec.model_fields.get(field)
    if described is not None and described.description:
        return described.description
    return "see deployctl plan --help"


def _refuse_twins(specs: Sequence[ServiceSpec], places: Sequence[str]) -> None:
    """Refuses two services of one name, or of one port where they share a host."""
    names: dict[str, int] = {}
    ports: dict[int, int] = {}
    for index, spec in enumerate(specs):
        _refuse_twin("name", spec.service, names, index, places)
        for port in ports_of(spec):
            _refuse_twin("port", port, ports, index, places)


def ports_of(spec: ServiceSpec) -> range:
    """Those that it takes of its host: as processes each replica has the one after the former's.
    None in a cluster, nor in Docker behind the gateway: there each has an address of its own."""
    count = spec.replicas or 1
    if spec.target == "process" or (not spec.target and spec.gpu == "cpu"):
        return range(spec.port, spec.port + count)
    in_cluster = spec.target == "kubernetes" or (not spec.target and spec.claims_cards)
    if in_cluster or spec.wants_gateway or count > 1:
        return range(0)
    return range(spec.port, spec.port + 1)


def _refuse_twin(
    what: str, value: Any, seen: dict[Any, int], index: int, places: Sequence[str]
) -> None:
    if seen.setdefault(value, index) != index:
        other, place = places[seen[value]], places[index]
        same_file = place.rpartition(": ")[0]
        raise SpecError(
            f"{what} {value!r} is used by {other.removeprefix(f'{same_file}: ')} too",
            where=f"{place}/{what}",
            hint="give each service its own",
        )


def read_documents(file: Path) -> list[dict[str, Any]]:
    """Reads the mappings of a YAML file, one a document.

    Raises:
        SpecError: the file is missing, unreadable, not YAML, or holds something else.
    """
    try:
        text = read_text(file, MAX_BYTES)
    except InputError as error:
        raise SpecError(error.message, where=error.where, hint=error.hint) from error
    parsed, troubles = parse(text, most=MAX_VALUES, tags=False)
    for trouble in troubles:
        raise SpecError(
            trouble.message, where=f"{file}:{trouble.line}", hint="check the YAML there"
        )
    documents = [each.data for each in parsed]
    services = 0  # so far: the fleet's document is none
    for document in documents:
        if not isinstance(document, dict):
            raise SpecError(
                f"a {type(document).__name__} where a mapping was expected",
                where=f"{file}: services/{services}",
                hint="each document describes one service: model: …, gpu: …",
            )
        services += FLEET not in document
    if not documents:
        raise SpecError("the file holds no document", where=str(file), hint="write model: …")
    return documents
