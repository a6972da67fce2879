"""What is told of a service in one row, and how its figures are written. Pure."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from deployctl.cli.spreads import brief
from deployctl.operations.top.row import Change, Row

_BARS = "▁▂▃▄▅▆▇█"


class Column(NamedTuple):
    """A column: its title, what is in it, and when it goes where there is little room."""

    title: str
    width: int
    goes: int  # the greatest goes first
    cell: Callable[[Row], str]
    sort: str = ""  # one of SORTS, that orders by it
    alarms: Callable[[Row], bool] = lambda row: False  # the cell is worth a look


def amount(value: float | None) -> str:
    """A number in five characters: `0`, `3.2`, `312`, `12.3k`; `-` where it is not known."""
    if value is None:
        return "-"
    if value < 9.95:
        return f"{value:.1f}".removesuffix(".0")
    for scale, letter in ((1, ""), (1e3, "k"), (1e6, "M"), (1e9, "G")):
        shown = value / scale
        if shown < 99.95 and letter:
            return f"{shown:.1f}{letter}"
        if shown < 999.5:
            return f"{shown:.0f}{letter}"
    return f"{value:.0e}"


def share(value: float | None) -> str:
    """A share of 1 in four characters."""
    return "-" if value is None else f"{value:.0%}"


def age(since: str, now: datetime) -> str:
    """How long ago something was, in four characters: `45s`, `14m`, `3h`, `12d`."""
    seconds = max(0.0, (now - datetime.fromisoformat(since)).total_seconds())
    for unit, size, most in (("s", 1, 60), ("m", 60, 60), ("h", 3600, 48)):
        if seconds < size * most:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds // 86400:.0f}d"


def changed(change: Change | None, now: datetime) -> str:
    """What was done last, in nine characters: `r12 14m`."""
    if change is None:
        return "-"
    return f"r{change.revision} {age(change.created, now)}"


def told(change: Change, now: datetime) -> str:
    """The same in words."""
    ago = age(change.created, now)
    why = f": {one_line(change.message)}" if change.message else ""
    return f"revision {change.revision} {change.status} {ago} ago by {change.reason}{why}"


def one_line(text: str) -> str:
    """A text whose line ends would break a row."""
    return " ".join(text.split())


def named(row: Row) -> str:
    """A service's name; behind it how many of its engines answer, where that is not one."""
    of = row.engines + row.silent
    if row.silent and row.engines:
        return f"{row.service} {row.engines}/{of}"
    return f"{row.service} ×{of}" if of > 1 else row.service


def columns(now: datetime) -> list[Column]:
    """All that there are, from left to right, behind the service's name."""

    def figure(name: str, write: Callable[[Any], str] = amount) -> Callable[[Row], str]:
        return lambda row: write(getattr(row.figures, name) if row.figures else None)

    def preempted(row: Row) -> float | None:
        number = row.figures.preemptions if row.figures else None
        return None if number is None else row.per_s(number)

    return [
        Column("TARGET", 10, 9, lambda row: row.target or "-"),
        Column("RUN", 4, 0, figure("running"), "running"),
        Column(
            "WAIT",
            4,
            0,
            figure("waiting"),
            "waiting",
            lambda row: bool(row.figures and row.figures.waiting),
        ),
        Column("REQ/S", 5, 3, figure("requests_per_s"), "requests"),
        Column("OUT/S", 5, 0, figure("generation_tokens_per_s"), "output"),
        Column("IN/S", 5, 6, figure("prompt_tokens_per_s")),
        Column(
            "TTFT95", 6, 1, lambda row: brief(row.figures.ttft_s if row.figures else None), "ttft"
        ),
        Column("ITL95", 6, 1, lambda row: brief(row.figures.itl_s if row.figures else None), "itl"),
        Column(
            "KV",
            4,
            1,
            figure("kv_cache_usage", share),
            "kv",
            lambda row: bool(row.figures and (row.figures.kv_cache_usage or 0) >= 0.9),
        ),
        Column("HIT", 4, 5, figure("prefix_cache_hit_rate", share)),
        Column(
            "PRE/S", 5, 4, lambda row: amount(preempted(row)), alarms=lambda r: bool(preempted(r))
        ),
        Column(
            "REF/S",
            5,
            2,
            lambda row: amount(row.per_s(row.refusals)),
            "refused",
            lambda row: bool(row.refusals),
        ),
        Column("CHANGED", 9, 2, lambda row: changed(row.change, now), "changed"),
    ]


def spark(cells: Sequence[float | None], top: float | None = None) -> str:
    """A line of bars, the highest for `top` or the greatest; blank where nothing is known."""
    most = top or max((cell for cell in cells if cell is not None), default=0.0)

    def bar(cell: float | None) -> str:
        if cell is None:
            return " "
        return _BARS[min(len(_BARS) - 1, int(cell / most * len(_BARS)))] if most > 0 else _BARS[0]

    return "".join(map(bar, cells))
