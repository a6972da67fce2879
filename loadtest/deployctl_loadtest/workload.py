"""Workload: what is asked, read from a data file (see `loadtest/workloads/`).

A file is YAML or JSON. Every key is optional but one: a workload says `input_tokens`, or
names a file of `prompts`.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from deployctl_loadtest import files
from deployctl_loadtest.lengths import Length
from deployctl_loadtest.promptfile import FORMATS, Record, read

_HERE = Path(__file__).resolve().parent
FOLDERS = (_HERE / "workloads", _HERE.parent / "workloads")  # installed, and in a checkout
_KEYS = {
    "description",
    "input_tokens",
    "output_tokens",
    "system_tokens",
    "shared_prefix",
    "turns",
    "think_s",
    "prompts",
}
MAX_BYTES = 256 * 1024  # of a workload; what was recorded is in files of its own
INPUT_TOKENS, OUTPUT_TOKENS = 128, 64  # where nothing says otherwise
_INPUT, _OUTPUT = Length.fixed(INPUT_TOKENS), Length.fixed(OUTPUT_TOKENS)
_ONE = Length.fixed(1)


@dataclasses.dataclass(frozen=True)
class SharedPrefix:
    """A beginning that many prompts have in common, as with retrieved documents or few-shot."""

    tokens: int
    hit_ratio: float  # share of the requests that have one of the common ones; others a new one
    count: int = 1  # how many common ones there are


@dataclasses.dataclass(frozen=True)
class Workload:
    """What traffic. Lengths in tokens."""

    name: str = "fixed"
    input_tokens: Length = _INPUT  # new in each turn, without what follows
    output_tokens: Length | None = _OUTPUT  # None: as the file says
    system_tokens: int = 0  # a system prompt, the same for all
    shared_prefix: SharedPrefix | None = None
    turns: Length = _ONE  # of a conversation; each holds all that was said before
    think_s: float = 0.0  # between an answer and the next turn
    records: tuple[Record, ...] = ()  # from a file of prompts, instead of made ones

    def with_lengths(self, input_tokens: int, output_tokens: int) -> "Workload":
        """The same, with these lengths instead where they are not 0."""
        changes: dict[str, Any] = {}
        if input_tokens:
            changes["input_tokens"] = Length.fixed(input_tokens)
        if output_tokens:
            changes["output_tokens"] = Length.fixed(output_tokens)
        return dataclasses.replace(self, **changes)


def names() -> list[str]:
    """The workloads that come with the package."""
    return sorted({path.stem for folder in FOLDERS for path in folder.glob("*.yaml")})


def find(name: str) -> Path:
    """The file of a workload: one of ours by name, or any by its path.

    Raises:
        ValueError: there is none.
    """
    for folder in FOLDERS:
        if (path := folder / f"{name}.yaml").is_file():
            return path
    if Path(name).is_file():
        return Path(name)
    raise ValueError(f"there is no workload {name!r}, and no such file; ours: {', '.join(names())}")


def load(name: str) -> Workload:
    """Reads a workload by name or path.

    Raises:
        ValueError: it is missing or wrong; the message says where.
    """
    if not name:
        return Workload()
    path = find(name)
    try:
        document = _document(path)
        return parse(document, path.stem, path.parent)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _document(path: Path) -> Any:
    text = files.read(path, MAX_BYTES)
    return _json(text) if path.suffix == ".json" else _yaml(text)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error


def _yaml(text: str) -> Any:
    """Reads YAML; aliases, of which a few lines can stand for gigabytes, are refused."""
    import yaml  # not needed by who gives lengths alone

    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise ValueError("aliases (*name) are not read: write the value where it is meant")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ValueError("not YAML: it is nested too deeply") from error


def parse(document: Any, name: str, folder: Path) -> Workload:
    """Makes a workload of a file's content. Files that it names are below `folder`.

    Raises:
        ValueError: a key is unknown, missing or wrong; the message begins with its path.
    """
    if not isinstance(document, dict):
        raise ValueError("a workload is a mapping, such as `input_tokens: 128`")
    if unknown := sorted(map(str, document.keys() - _KEYS)):
        raise ValueError(f"{unknown[0]}: unknown; there are {', '.join(sorted(_KEYS))}")
    if ("prompts" in document) == ("input_tokens" in document):
        raise ValueError("input_tokens: give this or prompts, one of the two")
    changes: dict[str, Any] = {"name": name}
    for key in ("input_tokens", "output_tokens", "turns"):
        if key in document:
            changes[key] = Length.parse(document[key], key)
    if "system_tokens" in document:
        changes["system_tokens"] = Length.parse(document["system_tokens"], "system_tokens").low
    if "think_s" in document:
        changes["think_s"] = _seconds(document["think_s"], "think_s")
    if "shared_prefix" in document:
        changes["shared_prefix"] = _prefix(document["shared_prefix"])
    if "prompts" in document:
        for key in ("shared_prefix", "turns", "system_tokens"):
            if key in document:
                raise ValueError(f"{key}: does not go with prompts, which are sent as they are")
        changes["records"] = _records(document["prompts"], folder)
        if "output_tokens" not in document:
            changes["output_tokens"] = None
    return Workload(**changes)


def portable(name: str, called: str) -> dict[str, str]:
    """The files of a workload that `load` reads, for a machine that has none of them: itself, as
    JSON, under the name `called`, and beside it the prompts that it names.

    Raises:
        ValueError: one cannot be read.
    """
    path = find(name)
    document = _document(path)
    texts: dict[str, str] = {}
    if "prompts" in document:
        texts["prompts"] = files.read(path.parent / document["prompts"]["file"])
        document["prompts"] = {**document["prompts"], "file": "prompts"}
    return {called: json.dumps(document), **texts}


def _prefix(value: Any) -> SharedPrefix:
    where = "shared_prefix"
    if not isinstance(value, dict):
        raise ValueError(f"{where}: is a mapping with tokens and hit_ratio")
    if unknown := sorted(map(str, value.keys() - {"tokens", "hit_ratio", "count"})):
        raise ValueError(f"{where}.{unknown[0]}: unknown")
    ratio = value.get("hit_ratio", 1.0)
    if not isinstance(ratio, (int, float)) or isinstance(ratio, bool) or not 0 <= ratio <= 1:
        raise ValueError(f"{where}.hit_ratio: {ratio!r} is not from 0 to 1")
    count = Length.parse(value.get("count", 1), f"{where}.count").low
    return SharedPrefix(Length.parse(value.get("tokens"), f"{where}.tokens").low, ratio, count)


def _records(value: Any, folder: Path) -> tuple[Record, ...]:
    if not isinstance(value, dict) or not isinstance(value.get("file"), str):
        raise ValueError("prompts.file: missing")
    if unknown := sorted(map(str, value.keys() - {"file", "format"})):
        raise ValueError(f"prompts.{unknown[0]}: unknown")
    kind = value.get("format", "lines")
    if kind not in FORMATS:
        raise ValueError(f"prompts.format: {kind!r} is not {', '.join(FORMATS)}")
    return read(folder / value["file"], kind)


def _seconds(value: Any, where: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 86400:
        raise ValueError(f"{where}: {value!r} is not a number of seconds")
    return float(value)
