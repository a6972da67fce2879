"""Tables by version in deploy/engines/vllm-*.json, as deployctl reads them.

A file is `{"versions": [...], TABLE: {key: periods}}`, with one table or more; a period is [first
version, value], and one without a value says that the key is gone from there on.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vllm_dropped import dropped_of
from vllm_flags import flags_of
from vllm_metrics import help_of, metrics_of
from vllm_parsers import parsers_of
from vllm_routes import routes_of
from vllm_source import SourceError

from deployctl.engines.vllm.versions import in_force
from deployctl.engines.vllm.versions import key as order

ENGINES = Path(__file__).resolve().parent.parent / "deploy" / "engines"


class Table(NamedTuple):
    """What a table holds, and who reads it from a release.

    `loses`: the most that a release lost, as a share. One that seems to lose more has moved its
    source to where the reader does not look.
    """

    name: str
    file: str
    read: Callable[[Path], Mapping[str, Any]]
    loses: float = 0.1


TABLES = (
    Table("flags", "vllm-flags.json", flags_of),
    Table("metrics", "vllm-metrics.json", metrics_of, 0.25),  # 0.9.1 lost 7 of 38
    Table("help", "vllm-metrics.json", help_of, 0.25),
    Table("routes", "vllm-routes.json", lambda p: dict.fromkeys(routes_of(p), True)),
    Table("tool", "vllm-parsers.json", lambda p: dict.fromkeys(parsers_of(p, "tool"), True), 0.25),
    Table(
        "reasoning",
        "vllm-parsers.json",
        lambda p: dict.fromkeys(parsers_of(p, "reasoning"), True),
        0.25,
    ),
    Table("dropped", "vllm-dropped.json", dropped_of, 0.5),  # 0.19 forgot 4 of 10
)


def load(table: Table, folder: Path = ENGINES) -> dict[str, Any]:
    """One of the tables, and the releases that it knows."""
    document = json.loads((folder / table.file).read_text(encoding="utf-8"))
    return {"versions": document["versions"], table.name: document[table.name]}


def at(document: Mapping[str, Any], name: str, version: str) -> dict[str, Any]:
    """What a release has: key -> value."""
    found = {key: in_force(periods, version) for key, periods in document[name].items()}
    return {key: value for key, value in found.items() if value is not None}


def add(document: Mapping[str, Any], of: Table, version: str, has: Mapping[str, Any]) -> Any:
    """The table with one more release, the newest; again, where it is the newest already.

    Raises:
        SourceError: much of what the release before has is gone; the reader looks in old places.
    """
    name, versions = of.name, [v for v in document["versions"] if v != version]
    if versions and order(version) < order(versions[-1]):
        raise SourceError(f"{version} is older than {versions[-1]}: read all again with --all")
    table = {key: [p for p in ps if p[0] != version] for key, ps in document[name].items()}
    before = at({name: table}, name, versions[-1]) if versions else {}
    gone = sorted(set(before) - set(has))
    if len(gone) > of.loses * len(before):
        raise SourceError(
            f"{len(gone)} of {len(before)} {name} are gone in {version}, {', '.join(gone[:5])} "
            f"among them: the source has moved, teach scripts/vllm_{name}.py where to"
        )
    for key in gone:
        table[key].append([version])
    for key, value in has.items():
        if before.get(key) != value:
            table.setdefault(key, []).append([version, value])
    return {
        "versions": [*versions, version],
        name: {key: periods for key, periods in sorted(table.items()) if periods},
    }


def save(documents: Mapping[str, Mapping[str, Any]], folder: Path = ENGINES) -> None:
    """Writes the tables, by name, a line for each key."""
    files: dict[str, list[str]] = {}
    for table in TABLES:
        document = documents[table.name]
        lines = ",\n".join(
            f"{json.dumps(key)}: {json.dumps(periods, separators=(',', ':'))}"
            for key, periods in document[table.name].items()
        )
        parts = files.setdefault(table.file, [f'"versions": {json.dumps(document["versions"])}'])
        parts.append(f'"{table.name}": {{\n{lines}\n}}')
    for file, parts in files.items():
        (folder / file).write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")
