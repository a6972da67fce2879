"""`deployctl top`: services on one screen, live."""

import sys
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from deployctl import units
from deployctl.cli.console import Output, answer_json, out, print_rows, story
from deployctl.cli.options import KeyFileOption, OutputOption, TargetOption, TokenFileOption
from deployctl.cli.top.columns import columns, named, one_line, told
from deployctl.cli.top.screen import Moments, Screen, draw, reasons
from deployctl.errors import InputError
from deployctl.operations.top.row import SORTS, Row, busiest, sorted_by
from deployctl.operations.top.watch import Board

TARGET_FAILED = 4
_KEYS_S = 0.5  # how long a key is waited for before the screen is drawn anew


_NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Names of services. \\[default: all that there are]",
        metavar="[NAME]...",
        show_default=False,
    ),
]
_UrlsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--url",
        help="Any vLLM server: http://HOST:PORT; repeat for more.",
        metavar="URL",
        show_default=False,
    ),
]


def command(
    names: _NamesArgument = None,
    url: _UrlsOption = None,
    api_key_file: KeyFileOption = None,
    operator_token_file: TokenFileOption = None,
    target: TargetOption = None,
    interval: Annotated[
        str,
        typer.Option(help="How long between two readings; figures are of it.", metavar="TIME"),
    ] = "2s",
    sort: Annotated[
        str, typer.Option(help=f"Order at first: {', '.join(SORTS)}.", metavar="FIGURE")
    ] = "service",
    once: Annotated[
        bool, typer.Option("--once", help="Read twice, an interval apart, and answer.")
    ] = False,
    output: OutputOption = Output.text,
) -> None:
    """Show services live on one screen, from their own /metrics.

    Of every service: requests running and waiting, requests and tokens a second, the 95th
    percentile of TTFT and ITL, KV cache in use, prefix-cache hits, preemptions, refusals, what was
    changed last, and the last minutes as bars. A service is chosen with the arrows or j and k;
    enter looks into it: all percentiles, and who uses it, by key. s and S sort by the next column
    and the one before, r turns the order round, q quits.

    It needs neither Prometheus nor Grafana. A service that does not answer is a row that says so.

    Without a terminal, and with --output json, it is as with --once. Exit code 4 when a service
    that should serve does not.

    [bold]Examples[/bold]

      deployctl top

      deployctl top chat embed --interval 5s --sort waiting

      deployctl top --once --output json
    """
    every_s = units.seconds_of(interval, "--interval", least=0.5)
    if sort not in SORTS:
        raise InputError(
            f"{sort!r} is no figure to sort by", where="--sort", hint=f"one of: {', '.join(SORTS)}"
        )
    board = _board(names or [], url or [], api_key_file, operator_token_file, target, every_s)
    try:
        if once or output is Output.json or not _is_terminal():
            _once(board, every_s, sort, output)
        else:
            _live(board, every_s, sort)
    finally:
        board.end()


def _board(
    names: list[str],
    urls: list[str],
    key_file: Any,
    token_file: Any,
    target: Any,
    every_s: float,
) -> Board:
    from deployctl.operations.measure.endpoint import resolve

    board = Board(every_s)
    if names and urls:
        raise InputError(f"both a service ({names[0]}) and --url are given")
    if not urls and (key_file or token_file):
        resolve(None, None, None, key_file, target, token_file)  # says what is wrong with that
    for url in urls:
        board.watch_address(resolve(None, url, None, key_file, target, token_file))
    if not urls:
        board.watch(names, target)
    return board


def _is_terminal() -> bool:
    """Whether there is a screen to draw on, whatever FORCE_COLOR says, and keys to read."""
    return sys.stdout.isatty() and not out.is_dumb_terminal and sys.stdin.isatty()


def _live(board: Board, every_s: float, sort: str) -> None:
    """Until q or Ctrl-C."""
    from rich.live import Live

    from deployctl.cli.top.keyboard import keyboard

    view = Screen(sort)
    try:
        with (
            keyboard(sys.stdin.fileno()) as keys,
            Live(console=out, screen=True, auto_refresh=False) as live,
        ):
            while True:
                seen = board.seen()
                when = Moments(datetime.now().astimezone(), time.monotonic(), every_s)
                live.update(draw(view, seen, when, *out.size), refresh=True)
                for key in keys.pressed(_KEYS_S):
                    if view.press(key, view.ordered(seen)):
                        return
    except KeyboardInterrupt:
        return  # another way to end it


def _once(board: Board, every_s: float, sort: str, output: Output) -> None:
    board.wait(steps=2)
    rows = sorted_by((row for row, _ in board.seen()), sort)
    if output is Output.json:
        documents = [_document(row) for row in rows]
        answer_json({"version": 1, "interval_s": every_s, "services": documents})
    else:
        _show(rows)
    if any(row.health not in ("serving", "starting", "stopped") for row in rows):
        raise typer.Exit(TARGET_FAILED)


def _show(rows: list[Row]) -> None:
    now = datetime.now(UTC)
    shown = columns(now)
    header = ["SERVICE", "HEALTH", *(column.title for column in shown)]
    cells = [[named(row), row.health, *(column.cell(row) for column in shown)] for row in rows]
    print_rows([header, *cells])
    keys = [
        [row.service, use.key, *map(str, use[1:5]), str(use.refusals), reasons(use) or "-"]
        for row in rows
        for use in busiest(row.keys)
    ]
    if keys:
        print_rows([[""]])
        titles = ("SERVICE", "KEY", "REQUESTS", "5XX", "IN", "OUT", "REFUSED", "WHY")
        print_rows([titles, *keys])
    for row in rows:
        said = [told(row.change, now) if row.change else "", one_line(row.detail)]
        if any(said):
            story(f"{row.service}: " + " · ".join(filter(None, said)))


def _document(row: Row) -> dict[str, Any]:
    """One service of the documented answer. Version 1."""
    figures = row.figures
    return {
        "service": row.service,
        "target": row.target,
        "url": row.url,
        "health": row.health,
        "detail": row.detail,
        "revision": row.revision,
        "changed": row.change._asdict() if row.change else None,
        "engines": row.engines,
        "engines_silent": row.silent,
        "engine_restarts": row.restarts,
        "figures": figures
        and {
            name: value._asdict() if hasattr(value, "_asdict") else value
            for name, value in figures._asdict().items()
        },
        "refusals": row.refusals,
        "keys": [{**use._asdict(), "refused": dict(use.refused)} for use in busiest(row.keys)],
    }
