"""How far a study is: a live line on a terminal, and a line a step there and elsewhere."""

from types import TracebackType
from typing import TYPE_CHECKING

from deployctl.cli.console import story
from deployctl.cli.liveline import LiveLine
from deployctl.tuning.events import Done, Event, Restarted
from deployctl.tuning.runner import Begun
from deployctl.tuning.trial import Failure, Invalid, Observation, Result, Start, Started
from deployctl.units import duration

if TYPE_CHECKING:
    from deployctl.tuning.bench import Strategy
    from deployctl.tuning.trial import Goal

_ENOUGH = 3  # steps, before it is said how many trials there will be
_HELD = {"yes": "held", "no": "not held", "unclear": "unclear"}
_UNITS = {"goodput": "good requests/s", "throughput": "tokens/s", "latency": "s", "cost": "$/M"}


class TuneProgress:
    """Tells what the runner tells it, between `with` and its end."""

    def __init__(self, goal: "Goal", strategy: "Strategy") -> None:
        self._goal = goal
        self._strategy = strategy
        self._live = LiveLine()
        self._steps = self._starts = 0

    def __enter__(self) -> "TuneProgress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.end()

    def replayed(self, done: list[Done]) -> None:
        """What a study that is gone on with has behind it."""
        self._steps = len(done)
        self._starts = sum(isinstance(one.step, Start) for one in done)

    def __call__(self, event: Begun | Event) -> None:
        """Tells one event."""
        if isinstance(event, Begun):
            self._begun(event)
            return
        self._live.end()
        if isinstance(event, Restarted):
            story(f"  {outcome(event.result, self._goal)}")
        elif isinstance(event, Done):
            self._steps += 1
            self._starts += isinstance(event.step, Start)
            what = "" if isinstance(event.step, Start) else f"{event.step.load}: "
            story(f"  {what}{outcome(event.result, self._goal)}")

    def _begun(self, event: Begun) -> None:
        step = event.step
        if isinstance(step, Start):
            story(self._heading(event))
            doing = "starting"
        else:
            if event.restart:
                story(f"trial {event.trial} again: {event.configuration} is started once more")
            doing = f"measuring {step.load} for {step.seconds:g} s"
        doing, so_far = f"trial {event.trial} · {doing}", self._so_far()
        self._live.show(lambda passed: f"{doing}, {duration(passed)} · {so_far}")

    def _heading(self, event: Begun) -> str:
        step = event.step
        of = ""
        if self._steps >= _ENOUGH:
            # How many starts the steps left are, by the steps so far.
            left, _ = self._strategy.remaining()
            share = self._starts / self._steps
            of = f" of about {max(event.trial, round(event.trial - 1 + left * share))}"
        return (
            f"trial {event.trial}{of} · {event.configuration} ({step.phase}: {step.why}) · "
            f"{self._so_far()}"
        )

    def _so_far(self) -> str:
        """`best so far 3.1 good requests/s (baseline) · about 12 min left`."""
        answer = self._strategy.answer()
        best = answer.winner or answer.baseline
        _, seconds = self._strategy.remaining()
        left = f"about {duration(max(1.0, seconds))} left"
        if best is None or best.objective is None:
            return left
        value = f"{best.objective:.3g} {_UNITS[self._goal]}"
        return f"best so far {value} ({best.configuration}) · {left}"


def outcome(result: Result, goal: "Goal") -> str:
    """What came of a step, in a line."""
    if isinstance(result, Started):
        return f"started in {duration(result.seconds)}"
    if isinstance(result, Failure):
        return f"does not do ({result.kind.replace('_', ' ')}): {result.reason}"
    if isinstance(result, Invalid):
        return f"says nothing of the engine: {result.reason}"
    return _figures(result, goal)


def _figures(seen: Observation, goal: "Goal") -> str:
    parts = [_HELD.get(seen.held, seen.held)]
    if goal in ("goodput", "latency"):
        parts.append(f"{seen.goodput_per_s:.3g} good of {seen.requests_per_s:.3g} requests/s")
    if goal in ("throughput", "cost"):
        parts.append(f"{seen.output_tokens_per_s:.4g} tokens/s")
    if seen.ttft_p95_s is not None:
        parts.append(f"TTFT p95 {duration(seen.ttft_p95_s)}")
    if goal == "latency" and seen.e2e_p95_s is not None:
        parts.append(f"E2E p95 {duration(seen.e2e_p95_s)}")
    if seen.failed:
        parts.append(f"{seen.failed} failed")
    if seen.held != "yes" and seen.why:
        parts.append(seen.why)
    return " · ".join(parts)
