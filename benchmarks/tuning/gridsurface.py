"""From the starts and runs of a grid to a surface file: means, and the noise around them. Pure."""

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from deployctl.load import slo as slos
from deployctl.tuning.trial import Value

# Percentiles that an observation has not, by column; older records have fewer of them.
TAILS = {f"{m}_{p}_s": (f"{m}_s", p) for p in ("p90", "p99") for m in ("ttft", "itl", "e2e")}
COLUMNS = (
    *("load", "requests_per_s", "output_tokens_per_s"),
    *("ttft_p50_s", "ttft_p95_s", "itl_p50_s", "itl_p95_s"),
    *("tpot_p50_s", "e2e_p50_s", "e2e_p95_s", *TAILS),
    *("good_share", "preemptions", "kv_cache_usage_max", "waiting_max"),
)
Line = dict[str, Any]


class Meta(NamedTuple):
    """What was asked for."""

    name: str
    title: str
    model: str
    engine: str
    hardware: str
    parameters: list[tuple[str, tuple[Value, ...], Value | None]]
    slo: str
    input_tokens: int
    output_tokens: int
    window_s: float
    eager: bool


def assemble(meta: Meta, lines: Sequence[Line]) -> dict[str, Any]:
    """The document of a surface file."""
    grid: dict[tuple[tuple[str, Value], ...], list[Line]] = defaultdict(list)
    for line in lines:
        grid[tuple(sorted(line["settings"].items()))].append(line)
    runs = [run for line in lines for run in line.get("runs", ())]
    columns = [name for name in COLUMNS if name not in TAILS or all(name in run for run in runs)]
    between_starts, between_runs = noise(grid.values())
    loads = sorted({run["load"] for run in runs})
    starts = [line["startup_s"] for line in lines if "startup_s" in line]
    return {
        "version": 1,
        "name": meta.name,
        "title": meta.title,
        "kind": "measured",
        "sources": [
            f"vLLM {meta.engine} on {meta.hardware}, {'eager' if meta.eager else 'compiled'}",
            f"{meta.model}; chat, {meta.input_tokens} tokens in, {meta.output_tokens} out; closed "
            f"loop; {len(lines)} starts of {len(grid)} configurations, {len(runs)} windows of "
            f"{meta.window_s:g} s; SLO {meta.slo}",
            f"{meta.name}.runs.jsonl has every start and every window",
        ],
        "problem": {
            "goal": "goodput",
            "parameters": [
                {"name": name, "values": list(values), "current": now}
                for name, values, now in meta.parameters
            ],
            "first": {"kind": "users", "value": loads[len(loads) // 2]},
            "slo": {f"{t.name}_s": t.limit for t in slos.parse(meta.slo).terms},
            "budget_s": 1800,
            "output_tokens": meta.output_tokens,
        },
        "noise": {"between_starts": between_starts, "between_runs": between_runs},
        "overhead_s": _round(statistics.fmean(r["spent_s"] - r["seconds"] for r in runs)),
        "columns": columns,
        "points": [
            _point(dict(key), mine, statistics.fmean(starts), columns)
            for key, mine in sorted(grid.items())
        ],
    }


def server_minutes(lines: Iterable[Line]) -> float:
    """What the grid took of the server: starts and measurements."""
    seconds = 0.0
    for line in lines:
        seconds += line.get("startup_s", 0.0) + line.get("failure", {}).get("spent_s", 0.0)
        seconds += sum(run["spent_s"] for run in line.get("runs", ()))
    return seconds / 60


def noise(grid: Iterable[Sequence[Line]]) -> tuple[float, float]:
    """Standard deviations of the server's speed: between starts, and between runs of one start.

    From tokens a second, by logarithm. Between runs: loads that one start measured twice. Between
    starts: the mean over loads of each start, less what runs contribute to it.
    """
    within: list[float] = []  # variances, of one degree of freedom each
    across: list[float] = []
    for starts in grid:
        means: list[dict[float, float]] = []
        for line in starts:
            speeds: dict[float, list[float]] = defaultdict(list)
            for run in line.get("runs", ()):
                if run["output_tokens_per_s"] > 0:
                    speeds[run["load"]].append(math.log(run["output_tokens_per_s"]))
            within += [statistics.variance(v) for v in speeds.values() if len(v) > 1]
            means.append({load: statistics.fmean(v) for load, v in speeds.items()})
        for one, other in itertools.pairwise(means):
            shared = sorted(one.keys() & other.keys())
            if shared:
                apart = statistics.fmean(one[load] - other[load] for load in shared)
                run = statistics.fmean(within) / len(shared) if within else 0.0
                across.append(apart**2 / 2 - run)
    runs = math.sqrt(statistics.fmean(within)) if within else 0.0
    starts_ = math.sqrt(max(0.0, statistics.fmean(across))) if across else 0.0
    return _round(starts_), _round(runs)


def _point(
    settings: dict[str, Value], lines: Sequence[Line], usual_start_s: float, columns: Sequence[str]
) -> Line:
    point: Line = {"settings": settings}
    started = [line["startup_s"] for line in lines if "startup_s" in line]
    if started:
        point["startup_s"] = _round(statistics.fmean(started))
    failures = [line["failure"] for line in lines if "failure" in line]
    if failures:
        last = failures[-1]
        point["failure"] = {
            "at": last["at"],
            "kind": last["kind"],
            "reason": last["reason"],
            "chance": _round(len(failures) / len(lines)),
            "spent_s": _round(statistics.fmean(f["spent_s"] for f in failures)),
            **({"above": last["above"]} if last["at"] == "load" else {}),
        }
        point.setdefault("startup_s", _round(usual_start_s))
    by_load: dict[float, list[Line]] = defaultdict(list)
    for line in lines:
        for run in line.get("runs", ()):
            by_load[run["load"]].append(run)
    point["rows"] = [_row(load, by_load[load], columns) for load in sorted(by_load)]
    return point


def _row(load: float, runs: Sequence[Line], columns: Sequence[str]) -> list[float | None]:
    values: list[float | None] = [load]
    for column in columns[1:]:
        seen = [_share(run) if column == "good_share" else run[column] for run in runs]
        known = [value for value in seen if value is not None]
        values.append(_round(statistics.fmean(known)) if known else None)
    return values


def _share(run: Line) -> float | None:
    rate = run["requests_per_s"]
    return min(1.0, run["goodput_per_s"] / rate) if rate > 0 else None


def _round(value: float) -> float:
    return float(f"{value:.4g}")
