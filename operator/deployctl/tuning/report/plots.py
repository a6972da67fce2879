"""A tuning study as SVG: Pareto front, effects, intervals, timeline. Needs matplotlib."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from deployctl.reports.plotstyle import BLUE, FAINT, GREEN, INK, ORANGE, RED, STYLE, svg
from deployctl.tuning.report.view import CandidateView, EventView, StudyView
from deployctl.tuning.report.wording import PHASES, decisive
from deployctl.tuning.trial import Load, Observation

GREY = "#94a3b8"
# Colour, mark, size, layer
_ROLES = {
    "winner": (GREEN, "*", 190, 5),
    "baseline": (ORANGE, "s", 62, 4),
    "other": (GREY, "o", 26, 3),
}
_PANELS = (("TTFT p95", "ttft_p95_s"), ("ITL p95", "itl_p95_s"), ("E2E p95", "e2e_p95_s"))
_PHASE_COLORS = {
    "baseline": ORANGE,
    "screen": GREY,
    "halving": BLUE,
    "limit": "#7c3aed",
    "final": GREEN,
    "drift": "#b45309",
}
LOG_FROM = 30.0  # largest ÷ smallest latency, from which the axis is logarithmic
MOST_VALUES = 12  # of a setting, in the plot of what it does


def pareto(view: StudyView) -> str:
    """Latency over throughput: a dot a configuration and load, and the front of the best."""
    panels = [(name, field, points) for name, field in _PANELS if (points := _points(view, field))]
    if not panels:
        return ""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 3.9), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for place, (name, _, points) in zip(axes, panels, strict=True):
            _pareto_panel(place, name, points)
        handles: dict[str, Any] = {}
        for place in axes:
            for handle, label in zip(*place.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles),
            frameon=False, fontsize=8, labelcolor=INK,
        )  # fmt: skip
        return svg(figure, "pareto")


_Point = tuple[float, float, str, bool]  # tokens/s, ms, role, whether the SLO was not missed


def _points(view: StudyView, field: str) -> list[_Point]:
    """Means over the runs of a configuration at one load."""
    points: list[_Point] = []
    for candidate in view.candidates:
        loads: dict[Load, list[Observation]] = defaultdict(list)
        for run in candidate.runs:
            if getattr(run.seen, field) is not None:
                loads[run.seen.load].append(run.seen)
        for runs in loads.values():
            tokens = sum(r.output_tokens_per_s for r in runs) / len(runs)
            late = sum(getattr(r, field) for r in runs) / len(runs) * 1000
            points.append((tokens, late, candidate.role, all(r.held != "no" for r in runs)))
    return points


def front(points: Sequence[_Point]) -> list[_Point]:
    """Those that no other beats in both: from the fastest answer to the highest throughput."""
    best: list[_Point] = []
    for point in sorted(points, key=lambda p: (-p[0], p[1])):
        if not best or point[1] < best[-1][1]:
            best.append(point)
    return best[::-1]


def _pareto_panel(axes: Any, name: str, points: list[_Point]) -> None:
    axes.set_title(f"{name}, ms")
    axes.set_xlabel("output tokens/s")
    edge = front(points)
    axes.step(
        [p[0] for p in edge], [p[1] for p in edge], where="pre", color=BLUE, linewidth=1.4,
        zorder=2, label="Pareto front",
    )  # fmt: skip
    for role, (color, mark, size, layer) in _ROLES.items():
        for held, label in ((True, role), (False, f"{role}, SLO missed")):
            mine = [p for p in points if p[2] == role and p[3] == held]
            if mine:
                axes.scatter(
                    [p[0] for p in mine], [p[1] for p in mine], marker=mark, s=size, zorder=layer,
                    facecolor=color if held else "white", edgecolor=color, linewidth=1.1,
                    label=label,
                )  # fmt: skip
    latencies = [p[1] for p in points if p[1] > 0]
    if latencies and max(latencies) > LOG_FROM * min(latencies):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: "")
    else:
        axes.set_ylim(0, max(latencies, default=1.0) * 1.12)
    axes.set_xlim(0, max(p[0] for p in points) * 1.08 or 1.0)


def effects(view: StudyView) -> str:
    """What each setting does: the objective of every configuration, by the setting's value.

    Thin lines join configurations that differ in that setting alone; the thick one is the mean.
    """
    known = [c for c in view.candidates if c.objective is not None]
    names = [n for n in view.parameters if len({_value(c, n) for c in known}) > 1]
    if len(known) < 2 or not names:
        return ""
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 2.9 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
        for place, name in zip(axes, names, strict=False):
            _effect_panel(place, name, known)
        for place in list(axes)[len(names) :]:
            place.set_visible(False)
        for row in range(rows):
            figure.axes[row * columns].set_ylabel(_axis(view))
        return svg(figure, "effects")


def _value(candidate: CandidateView, name: str) -> Any:
    return dict(candidate.settings).get(name)


def _effect_panel(axes: Any, name: str, known: list[CandidateView]) -> None:
    axes.set_title(name)
    values = _ordered({_value(c, name) for c in known})[:MOST_VALUES]
    at = {value: index for index, value in enumerate(values)}
    pairs: dict[Any, list[tuple[int, float]]] = defaultdict(list)
    columns: list[list[float]] = [[] for _ in values]
    for candidate in known:
        value = _value(candidate, name)
        if value not in at or candidate.objective is None:
            continue
        rest = tuple(item for item in candidate.settings if item[0] != name)
        pairs[rest].append((at[value], candidate.objective))
        columns[at[value]].append(candidate.objective)
        color, mark, size, layer = _ROLES[candidate.role]
        axes.scatter(
            [at[value]], [candidate.objective], marker=mark, s=size, zorder=layer, color=color
        )
    for points in pairs.values():
        axes.plot(*zip(*sorted(points), strict=True), color=FAINT, linewidth=0.8, zorder=1)
    means = [(i, sum(column) / len(column)) for i, column in enumerate(columns) if column]
    axes.plot(*zip(*means, strict=True), color=BLUE, linewidth=1.8, zorder=2, alpha=0.8)
    axes.set_xticks(range(len(values)), ["unset" if v is None else str(v) for v in values])
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.grid(visible=False, axis="x")


def _ordered(values: set[Any]) -> list[Any]:
    """Unset first, then numbers by size, then words."""

    def rank(value: Any) -> tuple[int, float, str]:
        if value is None:
            return (0, 0.0, "")
        if isinstance(value, int | float) and not isinstance(value, bool):
            return (1, float(value), "")
        return (2, 0.0, str(value))

    return sorted(values, key=rank)


def _axis(view: StudyView) -> str:
    better = "higher is better" if view.more_is_better else "lower is better"
    units = {
        "goodput": "goodput, requests/s",
        "throughput": "output tokens/s",
        "latency": "latency, s",
        "cost": f"{'GPU-s' if view.usd_per_hour is None else 'US dollars'} a million tokens",
    }
    return f"{units.get(view.goal, view.goal)}\n({better})"


def against(view: StudyView) -> str:
    """Baseline and winner, or the best there are: interval, figure, and each decisive run."""
    chosen = [c for c in (view.baseline, view.winner) if c is not None]
    others = [c for c in view.candidates if c.role == "other" and c.objective is not None]
    chosen += others[: max(0, 5 - len(chosen))]
    chosen = [c for c in chosen if c.objective is not None]
    if not chosen:
        return ""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 0.9 + 0.5 * len(chosen)), layout="constrained")
        axes = figure.subplots()
        for row, candidate in enumerate(chosen):
            _interval(axes, -row, candidate)
        axes.set_yticks(
            [-row for row in range(len(chosen))],
            [_lines(c.name + (" (winner)" if c.role == "winner" else ""), 44) for c in chosen],
            fontsize=8,
        )
        axes.set_ylim(-len(chosen) + 0.4, 0.6)
        axes.set_xlabel(_axis(view).replace("\n", " "))
        axes.grid(visible=False, axis="y")
        return svg(figure, "against")


def _interval(axes: Any, y: float, candidate: CandidateView) -> None:
    color, mark, size, _ = _ROLES[candidate.role]
    if candidate.interval is not None:
        axes.plot(
            candidate.interval, [y, y], color=color, linewidth=7, alpha=0.28,
            solid_capstyle="round",
        )  # fmt: skip
    runs = [r.value for r in decisive(candidate) if r.value is not None]
    axes.scatter(runs, [y - 0.22] * len(runs), s=9, color=color, alpha=0.8, zorder=3)
    axes.scatter([candidate.objective], [y], marker=mark, s=size, color=color, zorder=4)


def timeline(view: StudyView) -> str:
    """Step by step on the server's clock: a row a start, coloured by phase; crosses failed."""
    if not view.events:
        return ""
    rows = _rows(view.events)
    scale, unit = (60.0, "min") if view.spent_s > 180 else (1.0, "s")
    with matplotlib.rc_context(STYLE):
        height = min(9.0, 0.9 + 0.17 * len(rows))
        figure = Figure(figsize=(10.4, height), layout="constrained")
        axes = figure.subplots()
        for y, row in enumerate(rows):
            for event in row:
                _bar(axes, -y, event, scale)
        shown = len(rows) <= 45
        axes.set_yticks(
            [-y for y in range(len(rows))] if shown else [],
            [_short(_terse(row[0].candidate), 44) for row in rows] if shown else [],
            fontsize=7,
        )
        axes.set_ylim(-len(rows) + 0.3, 0.7)
        axes.set_xlim(0, max(view.spent_s / scale, 1e-9))
        axes.set_xlabel(f"{unit} of the server's time; pale: starting")
        axes.grid(visible=False, axis="y")
        used = dict.fromkeys(e.phase for e in view.events)
        marks = [
            matplotlib.patches.Patch(color=_PHASE_COLORS.get(p, GREY), label=PHASES.get(p, p))
            for p in used
        ]
        figure.legend(
            handles=marks, loc="outside upper center", ncols=len(marks), frameon=False,
            fontsize=8, labelcolor=INK,
        )  # fmt: skip
        return svg(figure, "timeline")


def _rows(events: Sequence[EventView]) -> list[list[EventView]]:
    rows: list[list[EventView]] = []
    for event in events:
        if event.what == "start" or not rows:
            rows.append([])
        rows[-1].append(event)
    return rows


def _bar(axes: Any, y: float, event: EventView, scale: float) -> None:
    color = _PHASE_COLORS.get(event.phase, GREY)
    axes.barh(
        y, event.seconds / scale, left=event.begun_s / scale, height=0.72, color=color,
        alpha=0.3 if event.what == "start" else 0.95, edgecolor="white", linewidth=0.5,
    )  # fmt: skip
    if event.outcome in ("failed", "invalid"):
        end = (event.begun_s + event.seconds) / scale
        axes.scatter(
            [end], [y], marker="X", s=44, zorder=5, linewidth=0.6, edgecolor="white",
            color=RED if event.outcome == "failed" else ORANGE,
        )  # fmt: skip


_TERSE = {
    "max_num_batched_tokens": "tokens",
    "max_num_seqs": "seqs",
    "tensor_parallel_size": "TP",
    "gpu_memory_utilization": "memory",
}


def _terse(name: str) -> str:
    """Names of settings in a word, where there is little room."""
    for long, brief in _TERSE.items():
        name = name.replace(f"{long}=", f"{brief}=")
    return name


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _lines(text: str, most: int) -> str:
    """Broken between settings, so that they can be told apart; three lines at most."""
    lines = [""]
    for part in text.split(", "):
        joined = f"{lines[-1]}, {part}" if lines[-1] else part
        if lines[-1] and len(joined) > most:
            lines[-1] += ","
            lines.append(part)
        else:
            lines[-1] = joined
    return "\n".join(_short(line, most + 10) for line in lines[:3]) + ("…" if lines[3:] else "")
