"""python -m benchmarks.tuning [--surfaces DIR]… [--seeds N] [--out DIR] [--only NAME,…]

Races deployctl's search, vLLM's auto_tune procedure, random search and Optuna's TPE on every
surface file of the folders. Times are server minutes on a virtual clock. `--out` writes
`race.json` and `race.md`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.tuning.race import SEARCHES, judge, quality, summary
from benchmarks.tuning.rivals import BASELINE
from benchmarks.tuning.surface.file import read_all
from benchmarks.tuning.surface.truth import Truth

from deployctl.errors import DeployctlError

HERE = Path(__file__).resolve().parent
SHARED = 5  # rivals need fewer seeds to be told apart: each costs up to 50 trials
Row = dict[str, object]


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line; returns 0, or 2 where a surface cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__)
    parser.add_argument("--surfaces", type=Path, action="append", help="folder; may be repeated")
    parser.add_argument("--seeds", type=int, default=50, help="of ours; the others get a fifth")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default=",".join(SEARCHES), help=", ".join(SEARCHES))
    given = parser.parse_args(arguments)
    chosen = [name for name in given.only.split(",") if name in SEARCHES]
    if not chosen or given.seeds < 1:
        parser.error(f"--only takes {', '.join(SEARCHES)}; --seeds is 1 or more")
    if "TPE" in chosen and find_spec("optuna") is None:
        print("TPE is left out: pip install optuna", file=sys.stderr)
        chosen.remove("TPE")
    try:
        folders = given.surfaces or [HERE / "surfaces"]
        surfaces = [surface for folder in folders for surface in read_all(folder)]
    except DeployctlError as error:
        print(f"error: {error}\n  where: {error.where}\n  hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    rows = []
    for surface in surfaces:
        truth = Truth(surface)
        for name in chosen:
            seeds = given.seeds if name == "deployctl" else max(1, given.seeds // SHARED)
            runs = [judge(truth, SEARCHES[name](truth, seed)) for seed in range(seeds)]
            row: Row = {"surface": surface.name, "search": name, **summary(runs)}
            row["baseline_share"] = round(quality(truth, BASELINE), 3)
            rows.append(row)
            print(line(row), file=sys.stderr)
    text = table(rows)
    print(text)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "race.json").write_text(json.dumps({"version": 1, "rows": rows}, indent=1))
        (given.out / "race.md").write_text(text + "\n")
    return 0


def table(rows: Sequence[Row]) -> str:
    """Markdown: one line a surface and search."""
    head = (
        "| surface | search | minutes to within 5% | got there | wrong winner | winner but short | "
        "winner / no clear winner / baseline | minutes in all | starts |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    return "\n".join([head, *(line(row) for row in rows)])


def line(row: Row) -> str:
    """One row."""
    minutes = row["minutes_to_5%"]
    verdicts = " / ".join(
        f"{row[name]:.0%}" for name in ("winner", "no_clear_winner", "baseline_best")
    )
    shares = " | ".join(f"{row[name]:.0%}" for name in ("reached", "wrong", "short"))
    return (
        f"| {row['surface']} | {row['search']} | {'never' if minutes is None else minutes} | "
        f"{shares} | {verdicts} | {row['minutes']} | {row['starts']:g} |"
    )


if __name__ == "__main__":
    raise SystemExit(main())
