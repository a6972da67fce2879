"""From a study's facts, (Step, Result) in their order, to what a report shows. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from deployctl.reports.tuning_view import (
    CandidateView,
    EventView,
    FailureView,
    RunView,
    StudyView,
)
from deployctl.tuning.bench import Answer, Parameter, Standing
from deployctl.tuning.recommendation import Measured
from deployctl.tuning.search import measures
from deployctl.tuning.trial import (
    Configuration,
    Failure,
    Invalid,
    Measure,
    Observation,
    Result,
    Start,
    Started,
    Step,
    Value,
)

_OUTCOMES = {"yes": "ok", "no": "missed", "unclear": "unclear"}


def study_view(
    answer: Answer,
    events: Iterable[tuple[Step, Result]],
    measured: Measured,
    *,
    title: str,
    parameters: Sequence[Parameter] = (),
    budget_s: float | None = None,
    usd_per_hour: float | None = None,
) -> StudyView:
    """Everything that a report shows.

    Args:
        answer: how the search ended.
        events: every step that was done, with its result, in order.
        measured: what it was about.
        title: the service's name.
        parameters: what was varied; the baseline's own values are known from them.
        budget_s: server seconds that were allowed.
        usd_per_hour: of all GPUs together, where the profile has a price.
    """
    told: list[EventView] = []
    runs: dict[Configuration, list[RunView]] = {}
    failures: list[FailureView] = []
    running, clock = Configuration(), 0.0
    for step, result in events:
        if isinstance(step, Start):
            running = step.configuration
        spent = _spent(result)
        told.append(_event(step, result, running, clock, spent))
        clock += spent
        if isinstance(step, Measure) and isinstance(result, Observation):
            value = figure(measured, result, usd_per_hour)
            runs.setdefault(running, []).append(_run(step, result, value))
        if isinstance(result, Failure):
            failures.append(FailureView(str(running), result.kind, result.reason, spent))
    # Those that the planner refused were never a step.
    seen = {(f.candidate, f.kind) for f in failures}
    failures += [
        FailureView(str(configuration), failure.kind, failure.reason, failure.spent_s)
        for configuration, failure in answer.failures
        if (str(configuration), failure.kind) not in seen
    ]
    own = {p.name: p.current for p in parameters if p.current is not None}
    return StudyView(
        title=title,
        goal=measured.objective,
        verdict=answer.verdict,
        why=answer.why,
        improvement=answer.improvement,
        candidates=tuple(_candidates(answer, runs, own)),
        events=tuple(told),
        failures=tuple(failures),
        notes=answer.notes,
        parameters=_varied(parameters, runs, answer),
        slo=measured.slo,
        facts=tuple(_facts(measured)),
        budget_s=budget_s,
        usd_per_hour=usd_per_hour,
    )


def figure(measured: Measured, seen: Observation, usd_per_hour: float | None) -> float | None:
    """One run in the goal's unit, as the search reckons it: requests/s, tokens/s, seconds, and
    US dollars (GPU-seconds without a price) per million output tokens."""
    if measured.objective == "goodput":
        return measures.rate(seen) * (measures.share(seen) if measured.slo else 1.0)
    if measured.objective == "throughput":
        return seen.output_tokens_per_s
    if measured.objective == "latency":
        return measures.latency(seen)
    if seen.output_tokens_per_s <= 0:
        return None
    seconds = 1e6 / seen.output_tokens_per_s
    return seconds * (measured.hardware.gpus if usd_per_hour is None else usd_per_hour / 3600)


def _spent(result: Result) -> float:
    return result.seconds if isinstance(result, Started) else result.spent_s


def _event(
    step: Step, result: Result, running: Configuration, begun: float, spent: float
) -> EventView:
    outcome, came = "ok", ""
    if isinstance(result, Failure):
        outcome, came = "failed", f"{result.kind}: {result.reason}"
    elif isinstance(result, Invalid):
        outcome, came = "invalid", result.reason
    elif isinstance(result, Observation):
        outcome, came = _OUTCOMES.get(result.held, "unclear"), result.why
    done = "start" if isinstance(step, Start) else f"{step.load} for {step.seconds:g} s"
    return EventView(
        what="start" if isinstance(step, Start) else "measure",
        candidate=str(running),
        phase=step.phase,
        begun_s=begun,
        seconds=spent,
        outcome=outcome,  # type: ignore[arg-type]
        text="; ".join(filter(None, [done, step.why, came])),
    )


def _run(step: Measure, seen: Observation, value: float | None) -> RunView:
    return RunView(
        phase=step.phase,
        load=str(seen.load),
        window_s=seen.seconds,
        value=value,
        held="unclear" if seen.held == "client" else seen.held,
        why=seen.why,
        requests_per_s=seen.requests_per_s,
        output_tokens_per_s=seen.output_tokens_per_s,
        goodput_per_s=seen.goodput_per_s,
        ok=seen.ok,
        failed=seen.failed,
        ttft_p50_s=seen.ttft_p50_s,
        ttft_p95_s=seen.ttft_p95_s,
        itl_p50_s=seen.itl_p50_s,
        itl_p95_s=seen.itl_p95_s,
        e2e_p50_s=seen.e2e_p50_s,
        e2e_p95_s=seen.e2e_p95_s,
        preemptions=seen.preemptions,
    )


def _candidates(
    answer: Answer, runs: Mapping[Configuration, list[RunView]], own: Mapping[str, Value]
) -> Iterable[CandidateView]:
    """Best first; those that have runs and no standing come last."""
    standings = {s.configuration: s for s in answer.standings}
    for special in (answer.baseline, answer.winner):
        if special is not None:
            standings[special.configuration] = special
    for configuration in runs:
        standings.setdefault(configuration, Standing(configuration, None, None, None, None, None))
    winner = answer.winner.configuration if answer.winner else None
    for configuration, standing in standings.items():
        role = "other"
        if configuration == winner:
            role = "winner"
        if not configuration.values:
            role = "baseline"
        yield CandidateView(
            name=str(configuration),
            role=role,  # type: ignore[arg-type]
            settings=tuple(sorted({**own, **configuration.settings}.items())),
            objective=standing.objective,
            low=standing.low,
            high=standing.high,
            slo_met=standing.slo_met,
            load=str(standing.load) if standing.load else None,
            runs=tuple(runs.get(configuration, ())),
        )


def _varied(
    parameters: Sequence[Parameter], runs: Mapping[Configuration, object], answer: Answer
) -> tuple[str, ...]:
    """Names of what was tried with more than one value, in the space's order."""
    tried = [*runs, *(s.configuration for s in answer.standings)]
    names = dict.fromkeys(
        [p.name for p in parameters] + [name for c in tried for name, _ in c.values]
    )
    return tuple(n for n in names if len({c.settings.get(n) for c in tried}) > 1)


def _facts(measured: Measured) -> Iterable[tuple[str, str]]:
    yield "Model", measured.model + (f" at {measured.revision}" if measured.revision else "")
    yield "Engine", f"vLLM {measured.engine_version}, target {measured.target}"
    yield "Hardware", str(measured.hardware)
    yield "Workload", f"{measured.workload}, seed {measured.seed}"
    if measured.slo:
        yield "SLO", measured.slo
    yield "Study", f"{measured.study}, {measured.date}"
    yield "deployctl", measured.deployctl
