"""Results as lines and as tables. Pure."""

from collections.abc import Sequence
from typing import Any

Result = dict[str, Any]


def line(result: Result) -> str:
    """A run in one line of progress."""
    name = f"{result['scenario']} {result['streams']} {result['client']}:"
    if result.get("broken"):
        return f"{name} {result['reasons'][0]}"
    said = [
        f"TTFT p99 {_figure(result, 'ttft')}",
        f"gap p99 {_figure(result, 'gap')}",
        f"lag p99 {_figure(result, 'lag')} ms",
        f"{100 * result['cpu_share']:.0f}% of a core",
        f"{result['cpu_ms_per_stream']:.2f} ms a stream",
        f"missed {result['missed']}, invented {result['invented']}",
    ]
    said += [] if result["valid"] else ["INVALID: " + "; ".join(result["reasons"])]
    return f"{name} {', '.join(said)}"


def markdown(results: Sequence[Result], missing: Sequence[str]) -> str:
    """The best of the others beside ours in short, then a table a scenario and count of streams."""
    parts = ["# How faithfully load clients measure\n"]
    parts += [f"`{name}` was not to be had, and is in no table.\n" for name in missing]
    parts += _in_short(results)
    keys = dict.fromkeys((r["scenario"], r["streams"]) for r in results)
    for scenario, streams in sorted(keys, key=lambda key: (key[0], key[1])):
        these = [r for r in results if (r["scenario"], r["streams"]) == (scenario, streams)]
        these.sort(key=lambda r: (r["client"] != "ours", r["client"]))
        parts.append(_table(scenario, streams, these))
    return "\n".join(parts)


_SHORT = (
    ("ttft", "TTFT: error in ms, p99"),
    ("gap", "Gaps: error in ms, p99"),
    ("lag", "Lag in ms, p99"),
    ("cpu", "CPU in ms a stream"),
)


def _in_short(results: Sequence[Result]) -> list[str]:
    """Ours beside the best of the others: a table a measure, scenarios by counts of streams."""
    closed = [r for r in results if r["valid"] and r["scenario"] != "open_loop"]
    counts = sorted({r["streams"] for r in closed})
    if not any(r["client"] == "ours" for r in closed) or len(closed) < 2:
        return []
    parts = ["Ours / the best of the others, by streams; of runs whose server was in time.\n"]
    for measure, title in _SHORT:
        rows = [f"**{title}**\n", _row(["scenario", *(f"{n:,}" for n in counts)])]
        rows.append(_row("---" for _ in (0, *counts)))
        for scenario in dict.fromkeys(r["scenario"] for r in closed):
            these = [r for r in closed if r["scenario"] == scenario]
            cells = [_beside([r for r in these if r["streams"] == n], measure) for n in counts]
            rows.append(_row([f"`{scenario}`", *cells]))
        parts.append("\n".join(rows) + "\n")
    return parts


def _beside(results: Sequence[Result], measure: str) -> str:
    values = {r["client"]: v for r in results if (v := _value(r, measure)) is not None}
    own = values.pop("ours", None)
    if own is None or not values:
        return ""
    best = min(values, key=lambda client: values[client])
    mine = f"**{own:.3g}**" if own < values[best] else f"{own:.3g}"
    return f"{mine} / {values[best]:.3g} {best}"


def _value(result: Result, measure: str) -> float | None:
    if measure == "cpu":
        return float(result["cpu_ms_per_stream"])
    return (result[measure] or {}).get("p99_ms")


_HEAD = (
    "client", "TTFT p50", "p99", "max", "gap p50", "p99", "max", "lag p50", "p99",
    "CPU ms a stream", "of a core", "tokens", "missed", "invented", "arrivals/s", "notes",
)  # fmt: skip


def _table(scenario: str, streams: int, results: Sequence[Result]) -> str:
    many = f"{streams} stream" + "s" * (streams != 1)
    title = scenario if scenario == "open_loop" else f"{scenario}, {many}"
    rows = [f"## {title}\n", "Errors in ms.\n", _row(_HEAD), _row("---" for _ in _HEAD)]
    rows += [_row(_cells(result)) for result in results]
    rows.append(_row(_ratios(results)))
    return "\n".join(rows) + "\n"


def _cells(result: Result) -> list[str]:
    if result.get("broken"):
        return [result["client"], *[""] * (len(_HEAD) - 2), result["reasons"][0].replace("|", "/")]
    cells = [result["client"]]
    for measure in ("ttft", "gap"):
        spread = result[measure] or {}
        cells += [_number(spread.get(f"{place}_ms")) for place in ("p50", "p99", "max")]
    spread = result["lag"] or {}
    cells += [_number(spread.get("p50_ms")), _number(spread.get("p99_ms"))]
    cells += [f"{result['cpu_ms_per_stream']:.2f}", f"{100 * result['cpu_share']:.0f}%"]
    told, sent = result["tokens_told"], result["tokens_sent"]
    cells.append("right" if told == sent else f"{told} of {sent}")
    faults = result["faults"]
    cells += [f"{result['missed']} of {faults}" if faults else "", str(result["invented"])]
    cells.append("" if result["rate_asked"] is None else f"{result['rate_got']:.2f}")
    return [*cells, "; ".join(_notes(result))]


def _notes(result: Result) -> list[str]:
    notes = []
    if not result["valid"]:
        notes.append("**invalid**: " + "; ".join(result["reasons"]))
    if result["gap"] is None and (mean := result["mean_gap"]):
        notes.append(f"gives no gaps; its mean gap is {mean['p99_ms']:.3f} off (p99)")
    if result["role_counted"]:
        by_text = result["ttft_by_text"]["p50_ms"]
        notes.append(f"takes the role chunk for the first: {by_text:.1f} off the first text")
    if result["merged"]:
        notes.append("takes the events of one write for one chunk")
    if result["misread"]:
        notes.append(f"{result['misread']} streams have gaps of no known kind")
    if result["unknown"]:
        notes.append(f"{result['unknown']} successes name no stream")
    if result["requests_told"] != result["requests_sent"]:
        notes.append(f"tells of {result['requests_told']} of {result['requests_sent']} requests")
    return notes


_MEASURED = (("ttft", 2), ("gap", 5), ("lag", 8))  # and the column of its p99


def _ratios(results: Sequence[Result]) -> list[str]:
    """Ours as a multiple of the best peer's: below 1 is better."""
    cells = ["ours ÷ best peer", *[""] * (len(_HEAD) - 1)]
    good = {r["client"]: r for r in results if r["valid"]}
    if (own := good.pop("ours", None)) is None or not good:
        return cells
    for measure, column in _MEASURED:
        theirs = [r[measure]["p99_ms"] for r in good.values() if r[measure]]
        if own[measure] and theirs and min(theirs) > 0:
            cells[column] = f"**{own[measure]['p99_ms'] / min(theirs):.2f}**"
    best = min(r["cpu_ms_per_stream"] for r in good.values())
    if best > 0:
        cells[9] = f"**{own['cpu_ms_per_stream'] / best:.2f}**"
    return cells


def _figure(result: Result, measure: str) -> str:
    return _number((result[measure] or {}).get("p99_ms")) or "none"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _row(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"
