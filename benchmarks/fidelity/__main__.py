"""python -m benchmarks.fidelity [--clients …] [--scenarios …] [--streams …] [--out DIR]

Holds load clients against a server whose every event has a known time. The answer, a table
in markdown, goes to stdout and with the figures as JSON into the folder; progress to stderr.
Runs that the folder has already are not repeated: a long round may be done in pieces.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.fidelity import table
from benchmarks.fidelity.clients import CLIENTS, has, interpreters
from benchmarks.fidelity.runner import MOST_CHUNKS_PER_S, keep, run
from benchmarks.fidelity.scenarios import NAMES

_TRIES = 2  # where the server was late


def main() -> int:
    """Reads the command line; returns 0, or 2 for one that cannot be understood."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fidelity",
        description=(__doc__ or "").split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--clients", default=",".join(CLIENTS), help="of %(default)s")
    add("--scenarios", default=",".join(NAMES), help="of %(default)s")
    add("--streams", default="1,64,256,512,1024", help="streams at once (%(default)s)")
    add(
        "--chunks-per-s",
        type=int,
        default=MOST_CHUNKS_PER_S,
        metavar="N",
        help="of all streams together, at most (%(default)s); less where the server is late itself",
    )
    add("--out", type=Path, default=Path("results/fidelity"), help="(%(default)s)")
    add("--peer", action="append", default=[], metavar="NAME=PYTHON", help="a peer's interpreter")
    add("--install-peers", type=Path, metavar="DIR", help="makes an environment for each there")
    add("--again", action="store_true", help="repeat runs that the folder has")
    given = parser.parse_args()
    try:
        clients = _words(given.clients, CLIENTS)
        scenarios = _words(given.scenarios, NAMES)
        counts = [int(word) for word in given.streams.split(",")]
        pythons = interpreters(given.peer, given.install_peers)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    missing = [name for name in clients if not has(pythons[name], CLIENTS[name].probe)]
    for name in missing:
        print(f"{name}: not to be had: {pythons[name]} lacks it", file=sys.stderr)
    todo = [(s, n, c) for s in scenarios for n in counts for c in clients if c not in missing]
    for place, (scenario, streams, name) in enumerate(todo, 1):
        path = given.out / "runs" / f"{scenario}-{streams}-{name}.json"
        if given.again or not path.exists():
            result = _one(name, pythons[name], scenario, streams, given)
            keep(result, path)
            print(f"{place}/{len(todo)} {table.line(result)}", file=sys.stderr)
    results = [json.loads(path.read_text()) for path in sorted((given.out / "runs").glob("*.json"))]
    text = table.markdown(results, missing)
    (given.out / "fidelity.md").write_text(text, encoding="utf-8")
    document = {"version": 1, "missing_clients": missing, "runs": results}
    (given.out / "fidelity.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    print(text)
    return 0


def _one(
    name: str, python: str, scenario: str, streams: int, given: argparse.Namespace
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    folder = (given.out / "last" / name).absolute()
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        result = run(CLIENTS[name], python, scenario, streams, folder, _cores(), given.chunks_per_s)
        if result["valid"] or result.get("broken"):
            break
    return result


def _cores() -> tuple[int, int] | None:
    """A core for the client and one for the server, where there are two."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else None


def _words(given: str, known: Any) -> list[str]:
    words = given.split(",")
    for word in words:
        if word not in known:
            raise ValueError(f"{word}: none of {', '.join(known)}")
    return words


if __name__ == "__main__":
    sys.exit(main())
