"""How far a study is, as events: what the runner tells, in words, with what is left to do."""

from dataclasses import dataclass

from deployctl.events import Event, Tell
from deployctl.tuning import events
from deployctl.tuning.runner import Begun
from deployctl.tuning.trial import (
    Failure,
    Goal,
    Invalid,
    Observation,
    Result,
    Start,
    Started,
    Strategy,
)
from deployctl.units import duration

_ENOUGH = 3  # steps, before it is said how many trials there will be
_HELD = {"yes": "held", "no": "not held", "unclear": "unclear"}
_UNITS = {"goodput": "good requests/s", "throughput": "tokens/s", "latency": "s", "cost": "$/M"}


@dataclass(frozen=True)
class Doing:
    """The detail of a progress event: what goes on from now, and what is known and left."""

    what: str  # trial 3 · measuring rate=2 for 10 s
    so_far: str  # best so far 3.1 good requests/s (baseline) · about 12 min left


class StudyProgress:
    """Listens to a runner. A heading is a trial; a note is what came of a step."""

    def __init__(self, goal: Goal, strategy: Strategy, tell: Tell) -> None:
        self._goal = goal
        self._strategy = strategy
        self._tell = tell
        self._steps = self._starts = 0

    def replayed(self, done: list[events.Done]) -> None:
        """What a resumed study has behind it."""
        self._steps = len(done)
        self._starts = sum(isinstance(one.step, Start) for one in done)
        if done:
            are = "s are" if len(done) > 1 else " is"
            self._tell(Event("heading", f"{len(done)} step{are} known already"))

    def __call__(self, event: Begun | events.StudyEvent) -> None:
        """Tells one event."""
        if isinstance(event, Begun):
            self._begun(event)
        elif isinstance(event, events.Restarted):
            self._tell(Event("note", outcome(event.result, self._goal), event))
        elif isinstance(event, events.Done):
            self._steps += 1
            self._starts += isinstance(event.step, Start)
            what = "" if isinstance(event.step, Start) else f"{event.step.load}: "
            self._tell(Event("note", what + outcome(event.result, self._goal), event))

    def _begun(self, event: Begun) -> None:
        step, so_far = event.step, self._so_far()
        if isinstance(step, Start):
            heading = f"{event.configuration} ({step.phase}: {step.why}) · {so_far}"
            self._tell(Event("heading", f"trial {event.trial}{self._of(event)} · {heading}", event))
            what = "starting"
        else:
            if event.restart:
                again = f"trial {event.trial} again: {event.configuration} is started once more"
                self._tell(Event("heading", again, event))
            what = f"measuring {step.load} for {step.seconds:g} s"
        doing = Doing(f"trial {event.trial} · {what}", so_far)
        self._tell(Event("progress", f"{doing.what} · {so_far}", doing))

    def _of(self, event: Begun) -> str:
        """How many trials there will be: of the steps left, as many starts as so far."""
        if self._steps < _ENOUGH:
            return ""
        left, _ = self._strategy.remaining()
        share = self._starts / self._steps
        return f" of about {max(event.trial, round(event.trial - 1 + left * share))}"

    def _so_far(self) -> str:
        answer = self._strategy.answer()
        best = answer.winner or answer.baseline
        _, seconds = self._strategy.remaining()
        left = f"about {duration(max(1.0, seconds))} left"
        if best is None or best.objective is None:
            return left
        value = f"{best.objective:.3g} {_UNITS[self._goal]}"
        return f"best so far {value} ({best.configuration}) · {left}"


def outcome(result: Result, goal: Goal) -> str:
    """What came of a step, in a line."""
    if isinstance(result, Started):
        return f"started in {duration(result.seconds)}"
    if isinstance(result, Failure):
        return f"failed ({result.kind.replace('_', ' ')}): {result.reason}"
    if isinstance(result, Invalid):
        return f"invalid measurement: {result.reason}"
    return _figures(result, goal)


def _figures(seen: Observation, goal: Goal) -> str:
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
