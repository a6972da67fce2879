"""python -m benchmarks.queries --peers DIR [--engine-version X.Y.Z] [--output json]

Each folder in DIR is a repository of others, or the part of it that holds dashboards and rules.
Every JSON and YAML file there that reads a metric of vLLM is checked by itself, against one
release. Shown are, by repository, the names that the release does not export, since when and what
replaced them, and how often queries do something else that reads nothing or nonsense.

Nothing of these files is kept here; the README says which were read. Exit code 2 without any.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deployctl.boundedyaml import MAX_BYTES, parse
from deployctl.checking import Finding, Options, check_texts
from deployctl.checking.documents import documents
from deployctl.checking.manifests import Manifests
from deployctl.checking.queries import series_read
from deployctl.engines.vllm import exported

UNKNOWN = "metric-unknown"
OTHERS = (
    *("metric-label", "bucket-bound", "query-unread", "counter-without-rate", "rate-of-gauge"),
    *("quantile-without-le", "ratio-as-percent"),
)
_SERIES = re.compile(r"(?:vllm:|deployctl_)\w+")
_SINCE = re.compile(r"removed in (\S+)")


@dataclass
class Peer:
    """What was found in one repository."""

    name: str
    files: list[str] = field(default_factory=list)  # with queries of vLLM's metrics
    reads: int = 0  # of series of vLLM
    dead: dict[str, dict[str, str]] = field(default_factory=dict)  # series: since, instead
    unread: int = 0  # reads of a dead name
    others: dict[str, int] = field(default_factory=dict)  # findings by code

    def add(self, file: str, reads: int, findings: list[Finding]) -> None:
        """Counts one file's findings."""
        self.files.append(file)
        self.reads += reads
        for finding in findings:
            if finding.code in OTHERS:
                self.others[finding.code] = self.others.get(finding.code, 0) + 1
            series = _SERIES.search(finding.message)
            if finding.code == UNKNOWN and series:
                since = _SINCE.search(finding.message)
                self.unread += 1
                self.dead[series[0]] = {
                    "since": since[1] if since else "never so",
                    "instead": finding.fix.removeprefix("write "),
                }


def main() -> int:
    """Reads the command line, checks and shows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queries")
    parser.add_argument("--peers", type=Path, required=True, help="a folder of repositories")
    parser.add_argument("--engine-version", default=exported.newest())
    parser.add_argument("--output", choices=("text", "json"), default="text")
    given = parser.parse_args()
    peers = list(measured(given.peers, given.engine_version))
    if not peers:
        print(f"error: no file below {given.peers} names a metric of vLLM", file=sys.stderr)
        return 2
    if given.output == "json":
        shown = {"version": 1, "engine": given.engine_version, "peers": [*map(asdict, peers)]}
        print(json.dumps(shown, indent=2))
    else:
        print("\n".join(table(peers)))
    return 0


def measured(folder: Path, version: str) -> Iterator[Peer]:
    """One peer after the other, by name."""
    for repository in sorted(one for one in folder.iterdir() if one.is_dir()):
        peer = Peer(repository.name)
        for file, text in texts(repository):
            manifests = Manifests(list(documents(file, parse(text)[0])))
            reads = sum(1 for _ in series_read(manifests))
            if reads:
                options = Options(engine_version=version)
                peer.add(file, reads, check_texts({file: text}, options).findings)
        if peer.files:
            yield peer


def texts(repository: Path) -> Iterator[tuple[str, str]]:
    """The files that can hold queries of vLLM's metrics, each with its path in the repository."""
    for parent, folders, names in os.walk(repository):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(parent) / name
            fits = name.endswith((".json", ".yaml", ".yml")) and not file.is_symlink()
            if fits and file.stat().st_size <= MAX_BYTES:
                text = file.read_bytes().decode("utf-8", "replace")
                if re.search(r"vllm:[a-z]", text):
                    yield str(file.relative_to(repository)), text


def table(peers: list[Peer]) -> Iterator[str]:
    """Markdown: a row a repository, then every dead name."""
    yield "| repository | files | series read | of these dead | dead names | other findings |"
    yield "|---|---|---|---|---|---|"
    for peer in peers:
        others = ", ".join(f"{code} {count}" for code, count in sorted(peer.others.items()))
        counts = (len(peer.files), peer.reads, peer.unread, len(peer.dead))
        cells = (peer.name, *counts, others or "–")
        yield f"| {' | '.join(map(str, cells))} |"
    yield ""
    yield "| repository | dead name | removed in | instead |"
    yield "|---|---|---|---|"
    for peer in peers:
        for series, known in sorted(peer.dead.items()):
            yield f"| {peer.name} | `{series}` | {known['since']} | `{known['instead']}` |"


if __name__ == "__main__":
    sys.exit(main())
