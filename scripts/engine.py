"""Takes a vLLM release into deploy/engines, and prints what changes for users, as markdown.

    make engine VERSION=0.33.0
    python scripts/engine.py VERSION [--sources DIR] [--all]

The release's wheel is fetched with pip and parsed, never imported. Flags, metrics, routes and
parsers are rewritten, and of vllm-behaviour.json what a pattern in the source can tell. What a
person judged before is kept; the report ends with the functions on which it rests and which
changed, to be read and entered by hand. `--all` reads every known release again, after a change to
one of the readers.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import vllm_behaviour
import vllm_changes
import vllm_tables
from vllm_source import Package, SourceError, fetch
from vllm_tables import ENGINES, TABLES

from deployctl.engines.vllm.versions import key as order


def take(versions: list[str], sources: Path, folder: Path = ENGINES, *, anew: bool = False) -> None:
    """Adds releases to the tables, oldest first; `anew`: the tables have no others.

    Raises:
        SourceError: a release cannot be had, or is not to be understood. Nothing is written then.
    """
    empty = {table.name: {"versions": [], table.name: {}} for table in TABLES}
    documents = empty if anew else {t.name: vllm_tables.load(t, folder) for t in TABLES}
    behaviour = vllm_behaviour.load(folder)
    for version in sorted(versions, key=order):
        package = fetch(version, sources)
        for table in TABLES:
            document = documents[table.name]
            documents[table.name] = vllm_tables.add(document, table, version, table.read(package))
        readings = vllm_behaviour.read(Package(package), version)
        behaviour = vllm_behaviour.add(behaviour, version, readings)
        print(f"{version}: read", file=sys.stderr)
    vllm_tables.save(documents, folder)
    vllm_behaviour.save(behaviour, folder)


def to_read(version: str, before: str, sources: Path) -> Iterator[str]:
    """What a person has to read: judged keys whose functions changed since the release before."""
    packages = (Package(fetch(before, sources)), Package(fetch(version, sources)))
    places: dict[str, list[str]] = {}
    for key, place in vllm_behaviour.changed(*packages):
        places.setdefault(place, []).append(key)
    yield "### To be read by hand\n"
    if not places:
        yield "Nothing: no function on which a judged value rests has changed."
        return
    yield f"These functions differ from {before}; what rests on them was carried over:\n"
    yield from (f"- {place}: {', '.join(keys)}" for place, keys in places.items())
    yield f"\nEnter what differs in {vllm_behaviour.FILE}, with its place in the source."


def release(text: str) -> str:
    """A release as the package index names it: `v0.33.0`, as its tag is called, is 0.33.0.

    Raises:
        argparse.ArgumentTypeError: the text names no release.
    """
    match = re.fullmatch(r"v?(\d+\.\d+\.\d+([.a-z]+\d+)?)", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no release; write for example 0.33.0")
    return match[1]


def main() -> int:
    """Reads the command line, takes the release, prints the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("version", type=release, help="a release of vLLM, such as 0.33.0")
    parser.add_argument("--sources", type=Path, default=Path(tempfile.gettempdir()) / "vllm-src")
    parser.add_argument("--all", action="store_true", help="read every known release again")
    given = parser.parse_args()
    try:
        known = vllm_tables.load(TABLES[0])["versions"]
        versions = sorted({*known, given.version}, key=order) if given.all else [given.version]
        take(versions, given.sources, anew=given.all)
        releases = vllm_changes.Releases()
        print(vllm_changes.report(releases, given.version))
        before = releases.before(given.version)
        print("\n".join(to_read(given.version, before, given.sources) if before else ()))
    except SourceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
