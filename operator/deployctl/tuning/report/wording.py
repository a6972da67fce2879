"""A tuning study in words and rows, the same for the terminal, markdown and HTML. Pure."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from deployctl.reports.wording import number
from deployctl.tuning.report.view import CandidateView, RunView, StudyView
from deployctl.units import duration

TONES = {
    "winner": "good",
    "baseline_best": "good",
    "no_clear_winner": "note",
    "interrupted": "warning",
    "nothing_feasible": "bad",
}
PHASES = {
    "baseline": "baseline, first",
    "screen": "screening",
    "halving": "halving",
    "limit": "search for the limit",
    "final": "finals",
    "drift": "baseline, again",
}
_SHORT = {"goodput": "requests/s", "throughput": "tokens/s"}


class FigureRow(NamedTuple):
    """One figure of baseline and winner."""

    name: str
    baseline: str
    winner: str
    change: str


class PhaseRow(NamedTuple):
    """What a phase cost."""

    name: str
    starts: int
    runs: int
    starting: str
    measuring: str
    share: str
    usd: str  # empty where there is no price


class CandidateRow(NamedTuple):
    """One configuration on a line."""

    name: str
    role: str
    objective: str
    interval: str
    load: str
    slo: str  # met, missed, unresolved, or empty
    runs: int


def headline(view: StudyView) -> str:
    """The answer, in one sentence."""
    best = view.winner
    if view.verdict == "winner" and best is not None:
        return f"{best.name}: {_gain(view)}"
    if view.verdict == "no_clear_winner" and all(c.role == "baseline" for c in view.candidates):
        return "Only the baseline could be measured. Keep your settings."
    if view.verdict == "no_clear_winner":
        return "No clear winner: the differences are within the noise. Keep your settings."
    if view.verdict == "baseline_best":
        return "No configuration beats the baseline. Keep your settings."
    if view.verdict == "nothing_feasible":
        return "Nothing that was tried is feasible, the service as it is included."
    if best is not None:
        return f"Interrupted. The best so far, not confirmed: {best.name} ({_gain(view)})"
    return "Interrupted, with nothing better than the service as it is so far."


def _gain(view: StudyView) -> str:
    what = {"cost": "cost", "latency": "latency"}.get(view.goal, view.goal)
    if view.improvement is None:
        best = view.winner
        return f"{amount(view, best.objective if best else None)} of {what}"
    ratio, low, high = view.improvement
    if view.more_is_better:
        return (
            f"{ratio:.2f} times the {what} of the baseline (95% interval {low:.2f} to {high:.2f})"
        )
    return f"{what} better by a factor of {ratio:.2f} (95% interval {low:.2f} to {high:.2f})"


def amount(view: StudyView, value: float | None) -> str:
    """A figure in the goal's unit."""
    if value is None:
        return "–"
    if view.goal == "cost":
        return f"{_price(view, value)} per million tokens"
    if view.goal == "latency":
        return _time(value)
    return f"{number(value)} {_SHORT.get(view.goal, '')}".rstrip()


def interval(view: StudyView, candidate: CandidateView) -> str:
    """The 95% interval of a configuration."""
    if candidate.interval is None:
        return ""
    write: Callable[[float], str] = number
    if view.goal == "latency":
        write = _time
    elif view.goal == "cost":
        write = partial(_price, view)
    return " to ".join(map(write, candidate.interval))


def _price(view: StudyView, value: float) -> str:
    """Dollars, or GPU-seconds where no price is known."""
    return f"{number(value)} GPU-s" if view.usd_per_hour is None else f"${value:.3g}"


def tiles(view: StudyView) -> list[tuple[str, str]]:
    """What is looked for first, as (value, name)."""
    shown = []
    if view.improvement is not None:
        shown.append((f"{view.improvement[0]:.2f}×", "the baseline"))
    for name, candidate in (("winner", view.winner), ("baseline", view.baseline)):
        if candidate is not None and candidate.objective is not None:
            value = amount(view, candidate.objective)
            bare, _, unit = value.partition(" ")
            shown.append((bare, f"{unit} · {name}" if unit else name))
    measured = sum(bool(c.runs) for c in view.candidates)
    shown.append((str(measured), "configurations measured"))
    shown.append((str(len(view.failures)), "failed"))
    shown.append((duration(view.spent_s), "of the server's time"))
    if (usd := cost(view, view.spent_s)) is not None:
        shown.append((f"${usd:.2f}", "of GPU time"))
    return shown


def cost(view: StudyView, seconds: float) -> float | None:
    """US dollars of server time; None without a price."""
    return None if view.usd_per_hour is None else view.usd_per_hour * seconds / 3600


def candidates(view: StudyView) -> list[CandidateRow]:
    """Every configuration, best first."""
    words = {True: "met", False: "missed", None: "unresolved" if view.slo else ""}
    return [
        CandidateRow(
            name=c.name,
            role="" if c.role == "other" else c.role,
            objective=amount(view, c.objective),
            interval=interval(view, c),
            load=str(c.standing.load or ""),
            slo=words[c.standing.slo_met],
            runs=len(c.runs),
        )
        for c in view.candidates
    ]


def comparison(view: StudyView) -> list[FigureRow]:
    """Baseline against winner: means over the runs at the load that each one's figure is of."""
    base, best = view.baseline, view.winner
    if base is None or best is None:
        return []
    one, other = decisive(base), decisive(best)
    rows = [FigureRow(view.goal, _with(view, base), _with(view, best), _ratio(base, best))]
    for name, field, write in _MEASURES:
        before, after = _mean(one, field), _mean(other, field)
        if before is None and after is None:
            continue
        change = f"{after / before:.2f}×" if before and after else ""
        rows.append(FigureRow(name, _or_dash(before, write), _or_dash(after, write), change))
    at, best_at = base.standing.load or "–", best.standing.load or "–"
    rows.append(FigureRow("at", str(at), str(best_at), ""))
    rows.append(FigureRow("runs", str(len(one)), str(len(other)), ""))
    return rows


def _or_dash(value: float | None, write: Callable[[float], str]) -> str:
    return "–" if value is None else write(value)


def decisive(candidate: CandidateView) -> tuple[RunView, ...]:
    """The runs that a configuration's figure is most likely of: at its load, the finals first."""
    load = candidate.standing.load
    at = [r for r in candidate.runs if load in (None, r.seen.load)] or list(candidate.runs)
    finals = [r for r in at if r.phase in ("final", "baseline", "drift")]
    return tuple(finals or at)


def _with(view: StudyView, candidate: CandidateView) -> str:
    told = interval(view, candidate)
    return amount(view, candidate.objective) + (f" ({told})" if told else "")


def _ratio(base: CandidateView, best: CandidateView) -> str:
    if not base.objective or best.objective is None:
        return ""
    return f"{best.objective / base.objective:.2f}×"


def _mean(runs: Sequence[RunView], field: str) -> float | None:
    values = [v for run in runs if (v := getattr(run.seen, field)) is not None]
    return sum(values) / len(values) if values else None


def _time(seconds: float) -> str:
    return f"{number(seconds * 1000)} ms" if seconds < 1 else f"{number(seconds)} s"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else number(value)


_MEASURES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("output tokens/s", "output_tokens_per_s", number),
    ("requests/s", "requests_per_s", number),
    ("goodput, requests/s", "goodput_per_s", number),
    ("TTFT p50", "ttft_p50_s", _time),
    ("TTFT p95", "ttft_p95_s", _time),
    ("ITL p50", "itl_p50_s", _time),
    ("ITL p95", "itl_p95_s", _time),
    ("E2E p50", "e2e_p50_s", _time),
    ("E2E p95", "e2e_p95_s", _time),
    ("failed requests", "failed", _count),
    ("preemptions", "preemptions", _count),
)


def phases(view: StudyView) -> list[PhaseRow]:
    """Where the server's time went; the last row is the sum."""
    names = list(dict.fromkeys(event.phase for event in view.events))
    groups = [(name, [e for e in view.events if e.phase == name]) for name in names]
    rows = []
    for name, events in [*groups, ("in all", list(view.events))] if groups else []:
        starts = [e.seconds for e in events if e.what == "start"]
        runs = [e.seconds for e in events if e.what == "measure"]
        spent = sum(starts) + sum(runs)
        usd = cost(view, spent)
        rows.append(
            PhaseRow(
                name=PHASES.get(name, name),
                starts=len(starts),
                runs=len(runs),
                starting=duration(sum(starts)) if starts else "–",
                measuring=duration(sum(runs)) if runs else "–",
                share=f"{spent / view.spent_s:.0%}" if view.spent_s else "–",
                usd="" if usd is None else f"${usd:.2f}",
            )
        )
    return rows


def budget(view: StudyView) -> str:
    """How much of the server's time was spent, of how much."""
    spent = f"{duration(view.spent_s)} of the server's time"
    if view.budget_s:
        spent += f", of {duration(view.budget_s)} allowed"
    usd = cost(view, view.spent_s)
    return (
        spent if usd is None else f"{spent}; about ${usd:.2f} at ${view.usd_per_hour:.2f} an hour"
    )
