"""How far a study is: a live line on a terminal, and a line a step there and elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from deployctl.cli.console import err, story
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

    def __init__(
        self, goal: "Goal", strategy: "Strategy", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._goal = goal
        self._strategy = strategy
        self._clock = clock
        self._live: Any = None
        self._doing = self._beside = ""
        self._since = 0.0
        self._steps = self._starts = 0

    def __enter__(self) -> "TuneProgress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_live()

    def replayed(self, done: list[Done]) -> None:
        """What a study that is gone on with has behind it."""
        self._steps = len(done)
        self._starts = sum(isinstance(one.step, Start) for one in done)

    def __call__(self, event: Begun | Event) -> None:
        """Tells one event."""
        if isinstance(event, Begun):
            self._begun(event)
            return
        self._end_live()
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
        self._doing, self._beside = f"trial {event.trial} · {doing}", self._so_far()
        self._since = self._clock()
        if err.is_terminal:
            from rich.live import Live

            self._end_live()
            self._live = Live(self, console=err, transient=True, refresh_per_second=4)
            self._live.start()

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

    def __rich__(self) -> Any:
        from rich.spinner import Spinner

        passed = duration(self._clock() - self._since)
        if not hasattr(self, "_spinner"):
            self._spinner = Spinner("dots", style="cyan")
        self._spinner.update(text=f"{self._doing}, {passed} · {self._beside}")
        return self._spinner

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


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
    if goal == "latency" and seen.e2e_p50_s is not None:
        parts.append(f"E2E p50 {duration(seen.e2e_p50_s)}")
    if seen.failed:
        parts.append(f"{seen.failed} failed")
    if seen.held != "yes" and seen.why:
        parts.append(seen.why)
    return " · ".join(parts)
