"""Draws the screen of `top`, and says what a key does to it. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deployctl.cli.spreads import brief_s, latencies
from deployctl.cli.top.columns import Column, amount, columns, named, one_line, share, spark, told
from deployctl.metrics.doors import KeyUse
from deployctl.metrics.figures import Figures
from deployctl.operations.top.row import SORTS, Row, busiest, sorted_by
from deployctl.operations.top.trend import Moment, Trend
from deployctl.units import duration

_GAP = 2  # between columns
_NAME = 24  # of a service, at most
_BARS = (12, 40)  # in a row: least and most
_DEARER = 5  # what goes at this number and above goes before the bars do
_ROOMY = 30  # lines of a screen that has room for blank ones
_LABEL = 9
_CELL_S = 5.0  # a bar, at least
_PAGE = 10
_FRAME = 5  # lines that a list of services shares the screen with
_HELP = "↑↓ choose · enter look into it · s S sort · r turn round · q quit"
_HELP_OPENED = "esc back · ↑↓ the next service · q quit"

Seen = Sequence[tuple[Row, Trend]]
Chosen = tuple[str, str | None]


@dataclass
class Screen:
    """What is looked at, and in which order."""

    sort: str = "service"
    turned: bool = False
    chosen: Chosen | None = None
    opened: bool = False

    def ordered(self, seen: Seen) -> list[Row]:
        """The rows as they are shown."""
        return sorted_by((row for row, _ in seen), self.sort, turned=self.turned)

    def index(self, rows: Sequence[Row]) -> int:
        """Which of them is chosen: the first, where none was."""
        return next((i for i, row in enumerate(rows) if _key(row) == self.chosen), 0)

    def looks_into(self, rows: Sequence[Row]) -> bool:
        """Whether one service is shown: the one that was chosen, as long as it is there."""
        there = self.chosen is None or self.chosen in map(_key, rows)
        return self.opened and there

    def press(self, key: str, rows: Sequence[Row]) -> bool:
        """Does what a key means. Whether that is the end."""
        self.opened = self.looks_into(rows)
        if key in ("q", "Q"):
            return True
        if key == "enter":
            self.opened = bool(rows)
            self._choose(rows, self.index(rows))
        elif key == "escape":
            self.opened = False
        elif key in ("s", "S"):
            names = list(SORTS)
            self.sort = names[(names.index(self.sort) + (1 if key == "s" else -1)) % len(names)]
            self.turned = False
        elif key == "r":
            self.turned = not self.turned
        elif key in (moves := _moves(len(rows))):
            self._choose(rows, self.index(rows) + moves[key])
        return False

    def _choose(self, rows: Sequence[Row], index: int) -> None:
        if rows:
            self.chosen = _key(rows[min(max(index, 0), len(rows) - 1)])


def _key(row: Row) -> Chosen:
    return row.service, row.target


def _moves(count: int) -> dict[str, int]:
    pages = {"pageup": -_PAGE, "pagedown": _PAGE, "home": -count, "end": count}
    return {"up": -1, "k": -1, "down": 1, "j": 1, **pages}


@dataclass(frozen=True)
class Moments:
    """When a screen is drawn: by the clock on the wall, and by the one of readings."""

    wall: datetime  # with a time zone
    monotonic_s: float
    every_s: float  # between two readings


def draw(view: Screen, seen: Seen, when: Moments, width: int, height: int) -> RenderableType:
    """The whole screen."""
    rows, trends = view.ordered(seen), {_key(row): trend for row, trend in seen}
    chosen = rows[view.index(rows)] if rows else None
    if view.looks_into(rows) and chosen is not None:
        return _service(chosen, trends[_key(chosen)], when, width, height)
    serve = sum(row.health == "serving" for row in rows)
    head = Text.assemble(
        ("deployctl top", "bold"),
        f" · {serve} of {len(rows)} services serve · every {duration(when.every_s)}"
        f" · {when.wall:%H:%M:%S}",
    )
    lines = [
        _fitted(head, width),
        *_table(view, rows, trends, when, width, max(1, height - _FRAME)),
    ]
    lines += [Text()] * (height - 2 - len(lines))
    lines.append(_fitted(_footer(chosen, when), width))
    lines.append(_fitted(Text(_HELP, "dim"), width))
    return Group(*lines)


def _footer(row: Row | None, when: Moments) -> Text:
    """What is to say of the chosen service that its row has no room for."""
    if row is None:
        return Text("no service: it is looked for")
    health = "" if row.health == "serving" else row.health
    said = [told(row.change, when.wall) if row.change else "", health, one_line(row.detail)]
    return Text.assemble((f"{row.service}: ", "bold"), " · ".join(filter(None, said)))


def _table(
    view: Screen,
    rows: Sequence[Row],
    trends: dict[Chosen, Trend],
    when: Moments,
    width: int,
    height: int,
) -> list[Text]:
    name = min(_NAME, max(map(len, ["SERVICE", *map(named, rows)])))
    shown, bars = fitting(columns(when.wall), width - name)
    index = view.index(rows)
    first = max(0, min(index - height // 2, len(rows) - height))
    lines = [_titles(view, shown, name, bars)]
    for number, row in enumerate(rows[first : first + height], first):
        line = Text(_cut(named(row), name).ljust(name))
        if row.figures is None:
            said = row.health if not row.detail else f"{row.health}: {one_line(row.detail)}"
            style = "dim" if row.health in ("asking", "stopped") else "red"
            line.append(" " * _GAP + _cut(said, width - name - _GAP), style)
        else:
            for column in shown:
                cell = column.cell(row).rjust(column.width)
                style = "bold yellow" if column.alarms(row) else ""
                line.append(" " * _GAP).append(cell, style)
            if bars:
                cells = _cells(trends[_key(row)], lambda m: m.output, when, bars)
                line.append(" " * _GAP).append(spark(cells), "cyan")
        line = _fitted(line, width)
        if number == index:
            line.pad_right(width - line.cell_len)
            line.stylize("reverse")
        lines.append(line)
    return lines


def fitting(all_of: Sequence[Column], width: int) -> tuple[list[Column], int]:
    """The columns that there is room for, and how many bars; those, too, give way to what matters
    more."""

    def left(columns: Sequence[Column]) -> int:
        return width - sum(_GAP + column.width for column in columns)

    shown, least = list(all_of), _GAP + _BARS[0]
    while shown and left(shown) < least:
        last = max(shown, key=lambda column: column.goes)
        if last.goes < _DEARER and (least := 0) <= left(shown):
            break
        shown.remove(last)
    bars = left(shown) - _GAP
    return shown, min(_BARS[1], bars) if bars >= _BARS[0] else 0


def _titles(view: Screen, shown: Sequence[Column], name: int, bars: int) -> Text:
    line = Text(style="dim")
    line.append("SERVICE".ljust(name), "bold not dim" if view.sort == "service" else "")
    for column in shown:
        style = "bold underline not dim" if column.sort == view.sort else ""
        line.append(" " * (_GAP + column.width - len(column.title))).append(column.title, style)
    if bars:
        line.append(" " * _GAP).append("OUT/S BEFORE"[:bars])
    return line


def _service(row: Row, trend: Trend, when: Moments, width: int, height: int) -> RenderableType:
    """One service, and nothing else."""
    place = [row.target, row.url if row.url != row.service else None, row.health]
    head = Text.assemble((named(row), "bold"), " · " + " · ".join(filter(None, place)))
    head.append(f" · {when.wall:%H:%M:%S}")
    parts: list[RenderableType] = [_fitted(head, width)]
    if row.change is not None:
        parts.append(_fitted(Text(told(row.change, when.wall)), width))
    if row.detail:
        style = "yellow" if row.health == "serving" else "red"
        parts.append(Text(row.detail, style))
    blank = [Text()] if height >= _ROOMY else []
    parts += [*blank, *_trends(trend, when, width)]
    if row.figures is not None:
        parts += [*blank, _fitted(_counted(row, row.figures), width)]
        if (table := latencies(row.figures)) is not None:
            parts += [*blank, table]
    if row.keys:
        parts += [*blank, _keys(row, height)]
    return Group(_fitted(Text(_HELP_OPENED, "dim"), width), *parts)


def _counted(row: Row, figures: Figures) -> Text:
    """What happened in the interval, in words."""
    preempted = "-" if figures.preemptions is None else f"{figures.preemptions:,}"
    said = [
        f"in {duration(figures.seconds or 0)}: prefix hits {share(figures.prefix_cache_hit_rate)}",
        f"preempted {preempted}",
        f"refused {row.refusals:,}",
        "an engine began anew" if figures.restarted else "",
        f"engines started again by their watchdog: {row.restarts}" if row.restarts else "",
    ]
    return Text(" · ".join(filter(None, said)))


def _trends(trend: Trend, when: Moments, width: int) -> list[Text]:
    """A line a figure: what it is now, and what it was."""
    written: list[tuple[str, Callable[[Moment], float | None], Callable[[float], str]]] = [
        ("running", lambda m: m.running, amount),
        ("waiting", lambda m: m.waiting, amount),
        ("requests", lambda m: m.requests, lambda v: amount(v) + "/s"),
        ("output", lambda m: m.output, lambda v: amount(v) + " tok/s"),
        ("prompt", lambda m: m.prompt, lambda v: amount(v) + " tok/s"),
        ("TTFT p95", lambda m: m.ttft, brief_s),
        ("ITL p95", lambda m: m.itl, brief_s),
        ("KV cache", lambda m: m.kv, share),
        ("refused", lambda m: m.refused, lambda v: amount(v) + "/s"),
    ]
    room = max(1, min(60, width - 4 * _LABEL - 3 * _GAP))
    lines = []
    for name, of, write in written:
        cells, now = _cells(trend, of, when, room), trend.newest(of)
        known = [cell for cell in cells if cell is not None]
        if not known:
            continue  # the engine does not tell, or nothing happened
        most = f"most {write(max(known))}"
        bars = spark(cells, 1.0 if name == "KV cache" else None)
        line = Text.assemble(
            (name.ljust(_LABEL), "bold"),
            ("-" if now is None else write(now)).rjust(_LABEL + _GAP),
            " " * _GAP,
            (bars, "cyan"),
            " " * _GAP,
            (most, "dim"),
        )
        lines.append(_fitted(line, width))
    return lines


def _keys(row: Row, most: int) -> Table:
    """Who asks, and what for: the busiest."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("key")
    for title in ("requests/s", "prompt tok/s", "output tok/s", "5xx/s", "refused/s"):
        table.add_column(title, justify="right")
    table.add_column("why")
    for use in busiest(row.keys)[:most]:
        numbers = (use.requests, use.input_tokens, use.output_tokens, use.failed, use.refusals)
        table.add_row(use.key, *(amount(row.per_s(n)) for n in numbers), reasons(use))
    return table


def reasons(use: KeyUse) -> str:
    """Why a key's requests were refused, the most frequent first."""
    by_number = sorted(use.refused.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{reason} {number}" for reason, number in by_number)


def _cells(
    trend: Trend, of: Callable[[Moment], float | None], when: Moments, count: int
) -> list[float | None]:
    return trend.cells(of, when.monotonic_s, max(_CELL_S, when.every_s), count)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def _fitted(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    return line
