"""A comparison of two load tests in words, rows and markdown. Pure."""

from typing import Any, NamedTuple

from deployctl.reports.wording import number, plain
from deployctl_loadtest.comparison import Comparison, Measure

BETWEEN = "±runs"  # how much runs of one side differ from each other

_NAMES = {
    "output_tokens_per_s": "tokens/s",
    "requests_per_s": "requests/s",
    "goodput_per_s": "goodput/s",
    "error_rate": "error rate",
}


class MeasureRow(NamedTuple):
    """One measure, in the order of `columns`."""

    name: str
    a: str
    b: str
    change: str
    interval: str
    between: str  # standard deviation; empty where no side has two runs
    verdict: str
    regression: bool


def columns(comparison: Comparison) -> tuple[str, ...]:
    """The table's columns: `±runs` only where a side has several runs."""
    several = any(measure.between_runs is not None for measure in comparison.measures)
    return ("", "A", "B", "change", "99% interval", *([BETWEEN] if several else []), "verdict")


def rows(comparison: Comparison) -> list[MeasureRow]:
    """The measures that either run has."""
    return [_row(m) for m in comparison.measures if m.a is not None or m.b is not None]


def _row(measure: Measure) -> MeasureRow:
    unit = " pp" if measure.unit == "share" else "%"
    known = measure.change is not None
    return MeasureRow(
        name=_NAMES.get(measure.name, measure.name),
        a=_value(measure, measure.a),
        b=_value(measure, measure.b),
        change=f"{_percent(measure.change or 0.0)}{unit}" if known else "",
        interval=_interval(measure) if known else "",
        between="" if measure.between_runs is None else f"±{measure.between_runs * 100:.1f}{unit}",
        verdict=measure.verdict,
        regression=measure.regression,
    )


def _interval(measure: Measure) -> str:
    """A ratio can fall by 100% at most: a bound there is none."""
    low, high = measure.low, measure.high
    if low is not None and low <= -1 and measure.unit != "share":
        low = None
    if low is None and high is None:
        return "not bounded"
    return " to ".join("…" if bound is None else _percent(bound) for bound in (low, high))


def _value(measure: Measure, value: float | None) -> str:
    if value is None:
        return "–"
    if measure.unit == "share":
        return f"{value * 100:.3g}%"
    if measure.unit == "s":
        return f"{number(value)} s" if value >= 10 else f"{number(value * 1000)} ms"
    return f"{number(value)} /s"


def _percent(share: float) -> str:
    return f"{share * 100:+.1f}"


def conclusion(comparison: Comparison) -> str:
    """The answer in one line."""
    if comparison.spoilt:
        return f"The comparison proves nothing: {'; '.join(comparison.spoilt)}"
    allowed = f"{comparison.threshold * 100:g}%"
    if comparison.regressions:
        return f"Worse by more than {allowed}: {', '.join(comparison.regressions)}"
    better = [m.name for m in comparison.measures if m.verdict == "better"]
    worse = [m.name for m in comparison.measures if m.verdict == "worse"]
    first = f"Better: {', '.join(better)}." if better else "No clear improvement."
    if worse:
        return f"{first} Worse, within {allowed}: {', '.join(worse)}."
    return f"{first} Nothing is clearly worse."


def markdown(comparison: Comparison) -> str:
    """The whole of it, for a job's summary."""
    a, b = comparison.a, comparison.b
    lines = [
        f"## Load tests compared: {plain(str(b['service'] or b['model']))}",
        "",
        f"A is {_told(a)}, B is {_told(b)}.",
        "",
        f"**{plain(conclusion(comparison))}**",
        "",
        "| " + " | ".join(columns(comparison)) + " |",
        "|---|" + "---:|" * (len(columns(comparison)) - 2) + "---|",
    ]
    for row in rows(comparison):
        verdict = f"**{row.verdict}**" if row.regression else row.verdict
        between = [row.between] if BETWEEN in columns(comparison) else []
        cells = (row.name, row.a, row.b, row.change, row.interval, *between, verdict)
        lines.append(f"| {' | '.join(cells)} |")
    remarks = [*(f"different: {text}" for text in comparison.differences), *comparison.notes]
    lines += ["", *(f"- {plain(remark)}" for remark in remarks)]
    return "\n".join(lines) + "\n"


def _told(side: dict[str, Any]) -> str:
    count = len(side["runs"])
    several = f"{count} runs from " if count > 1 else ""
    return f"{plain(side['folder'])} ({several}{side['started']})"
