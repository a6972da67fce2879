"""The table of checks, on a terminal and in a pipe."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deployctl.cli.console import out

if TYPE_CHECKING:
    from deployctl.doctor.facts import Check

_COLOURS = {"pass": "green", "warn": "yellow", "fail": "bold red"}


def show(checks: Sequence["Check"], what: str, remark: str) -> None:
    """Prints the checks, how many there are of each status, and what their fixes apply."""
    count = {s: sum(c.status == s for c in checks) for s in ("pass", "warn", "fail")}
    _table(checks) if out.is_terminal else _lines(checks)
    out.print(
        f"\n{count['pass']} passed, {count['warn']} warned, {count['fail']} failed ({what})"
        + (f"\n{remark}" if remark else "")
    )
    for check in checks:
        if check.yaml:
            out.print(f"\n# {check.title}\n{check.yaml}", markup=False, soft_wrap=True, end="")


def _lines(checks: Sequence["Check"]) -> None:
    """One line a check, however long, for grep."""
    width = max(len(check.title) for check in checks)
    for check in checks:
        fix = f"  (fix: {check.fix})" if check.fix else ""
        line = f"{check.status}  {check.title:{width}}  {check.detail}{fix}"
        out.print(line, markup=False, soft_wrap=True)


def _table(checks: Sequence["Check"]) -> None:
    from rich.table import Table
    from rich.text import Text

    table: Any = Table.grid(padding=(0, 2), expand=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        words = Text(check.detail)
        if check.fix:
            words.append(f"\nfix: {check.fix}", style="cyan")
        table.add_row(Text(check.status, style=_COLOURS[check.status]), check.title, words)
    out.print(table, soft_wrap=False)
