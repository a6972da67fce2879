"""python -m benchmarks.memfit.add FILE

Adds start-ups, one JSON object a line, to the case file, as part of the round under way. Some of
them are sealed as they come in, a third until round 5 and three quarters since, chosen by a hash
of the id and so by nobody: the report leaves them out, figures and single cases, but for who asks
(`--open`, `--sealed`). The next round (`benchmarks.memfit.cases.ROUND`) opens those of this one.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.data import read_text, write_compressed
from benchmarks.memfit.cases import HERE, ROUND, read

from deployctl.errors import DeployctlError

CASES = HERE / "cases.jsonl.gz"
# Until this round a third was sealed: ten cases at the end, which prove little.
_LAST_OF_THIRDS = 5


def is_sealed(case_id: str, number: int) -> bool:
    """Whether a case of this id is one of those of its round that are kept out of sight."""
    drawn = int(hashlib.sha256(case_id.encode()).hexdigest(), 16)
    return drawn % 3 == 0 if number <= _LAST_OF_THIRDS else drawn % 4 != 0


def added(known: Iterable[str], new: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The new cases with their round and seals.

    Raises:
        DeployctlError: an id is there already, or a case has no source.
    """
    ids, marked = set(known), []
    for case in new:
        if case["id"] in ids:
            raise DeployctlError("this case is there already", where=case["id"])
        if not case.get("source"):
            raise DeployctlError("a case without a source", where=case["id"])
        ids.add(case["id"])
        marked.append({**case, "round": ROUND, "sealed": is_sealed(case["id"], ROUND)})
    return marked


def main() -> int:
    """Reads the command line; returns 0, or 2 for cases that cannot be added."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memfit.add")
    parser.add_argument("file", type=Path)
    given = parser.parse_args()
    try:
        new = added([c.id for c in read(CASES)], [c.raw for c in read(given.file)])
    except (OSError, KeyError, DeployctlError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    lines = [json.dumps(case, ensure_ascii=False) for case in new]
    write_compressed(CASES, read_text(CASES).rstrip("\n") + "\n" + "\n".join(lines) + "\n")
    print(f"{len(new)} cases added, {sum(c['sealed'] for c in new)} of them sealed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
