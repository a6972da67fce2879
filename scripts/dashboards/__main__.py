"""Writes deploy/dashboards, or checks that it is what is made here."""

import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from scripts.dashboards import engine, fleet, loadtest, service
from scripts.dashboards.board import Board

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "dashboards"
BOARDS: tuple[Board, ...] = (service.BOARD, engine.BOARD, fleet.BOARD, loadtest.BOARD)


def files() -> dict[Path, str]:
    """Every dashboard's file."""
    encoder = JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False)
    return {FOLDER / f"{b.name}.json": encoder.encode(b.build()) + "\n" for b in BOARDS}


def main() -> int:
    """Writes the files, or checks them."""
    made, check = files(), "--check" in sys.argv
    stale = [f for f, text in made.items() if not f.is_file() or f.read_text() != text]
    gone = sorted(set(FOLDER.glob("*.json")) - set(made))
    for file in stale + gone:
        if check:
            name = file.relative_to(FOLDER.parents[1])
            print(f"{name} is stale: run make docs", file=sys.stderr)
        elif file in made:
            file.write_text(made[file], encoding="utf-8")
        else:
            file.unlink()
    return int(check and bool(stale or gone))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    sys.exit(main())
