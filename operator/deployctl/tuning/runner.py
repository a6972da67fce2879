"""Runner: stands between a search and a bench, and writes down every fact before the next.

What a search was told is told again, in order, to resume a study; nothing is measured
twice. An engine that was lost in between is started once more, which the search never knows.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from deployctl.errors import DeployctlError, InterruptedByUserError, StateError
from deployctl.targets.guards import shielded
from deployctl.tuning.events import Done, Interrupted, Restarted, StudyEvent
from deployctl.tuning.study import Study
from deployctl.tuning.trial import (
    Answer,
    Bench,
    Configuration,
    Failure,
    Measure,
    Result,
    Start,
    Started,
    Step,
    Strategy,
)

_ATTEMPTS_TO_STOP = 3  # each may be cut short by one more Ctrl-C


@dataclass(frozen=True)
class Begun:
    """A step that begins now; `restart` where its engine has to be started first."""

    step: Step
    configuration: Configuration
    trial: int
    restart: bool = False


Listener = Callable[[Begun | StudyEvent], None]


def _silent(_: Begun | StudyEvent) -> None:
    return None


class Runner:
    """Runs a study to its end, or to a Ctrl-C."""

    def __init__(
        self, study: Study, strategy: Strategy, bench: Bench, tell: Listener = _silent
    ) -> None:
        self._study = study
        self._strategy = strategy
        self._bench = bench
        self._tell = tell
        self._wanted: Configuration | None = None  # what the search believes to be running
        self._lives = False  # whether it does, here and now

    def replay(self) -> None:
        """Tells the search what the study holds.

        Raises:
            StateError: it would have asked for another step: it is not the search of this study.
        """
        for number, done in enumerate(self._study.done, 1):
            asked = self._strategy.ask()
            if asked is None or replace(asked, why="") != replace(done.step, why=""):
                raise StateError(
                    "this version of deployctl searches in another way and cannot resume the "
                    f"study: step {number} was {_told(done.step)}, and it would be "
                    f"{_told(asked) if asked else 'the end'}",
                    where=str(self._study.file),
                    hint="use the version that began it, or begin a new study",
                )
            self._follow(done.step, done.result)
            self._strategy.tell(asked, done.result)

    def run(self) -> Answer:
        """Runs until the search is over; `interrupted` after a Ctrl-C. Nothing runs then.

        Raises:
            StateError: the study could not be written; what was written before is whole.
            TargetError: what no configuration can help, such as no engine at all.
        """
        try:
            while (step := self._strategy.ask()) is not None:
                self._take(step)
        except (KeyboardInterrupt, InterruptedByUserError):
            self._end("interrupted")
            return replace(self._strategy.answer(), verdict="interrupted")
        except DeployctlError as error:
            self._end(error.message)
            raise
        except BaseException as error:
            self._end(type(error).__name__)
            raise
        self._stop()
        return self._strategy.answer()

    def _take(self, step: Step) -> None:
        if isinstance(step, Start):
            trial, configuration = self._study.trials + 1, step.configuration
        else:
            assert self._wanted is not None, "a search measures what it has started"
            trial, configuration = self._study.trials, self._wanted
        restart = isinstance(step, Measure) and not self._lives
        self._tell(Begun(step, configuration, trial, restart))
        result: Result | None = None
        if isinstance(step, Start):
            self._lives = False
            result = self._bench.start(configuration)
        elif restart:
            result = self._restart(configuration, trial)
        if isinstance(step, Measure) and result is None:
            result = self._bench.measure(step.load, step.seconds, self._seed())
        assert result is not None
        written = self._study.record(Done(step, result, trial))
        assert isinstance(written, Done)
        self._follow(step, written.result)
        self._lives = self._wanted is not None
        self._strategy.tell(step, written.result)
        self._tell(written)

    def _restart(self, configuration: Configuration, trial: int) -> Failure | None:
        """Starts it once more; a failure is that of the measurement which wanted it."""
        result = self._bench.start(configuration)
        self._tell(self._study.record(Restarted(configuration, trial, result)))
        if isinstance(result, Failure):
            return replace(result, spent_s=0.0)  # it is on the restart's account
        self._lives = True
        return None

    def _follow(self, step: Step, result: Result) -> None:
        if isinstance(step, Start):
            self._wanted = step.configuration if isinstance(result, Started) else None
        elif isinstance(result, Failure):
            self._wanted = None

    def _seed(self) -> int:
        """Prompts of its own for every measurement: the same again would come from a cache."""
        return (self._study.header.seed + (len(self._study.events) + 1) * 0x9E3779B1) % 2**48

    def _end(self, why: str) -> None:
        with suppress(StateError):  # a full disk is told by the error that led here
            self._study.record(Interrupted(why))
        with suppress(DeployctlError):
            self._stop()

    def _stop(self) -> None:
        self._lives = False
        for attempt in range(_ATTEMPTS_TO_STOP):
            try:
                with shielded(lambda: None):
                    self._bench.stop()
            except (KeyboardInterrupt, InterruptedByUserError):
                if attempt == _ATTEMPTS_TO_STOP - 1:
                    raise
            else:
                return


def _told(step: Step) -> str:
    if isinstance(step, Start):
        return f"a start of {step.configuration}"
    return f"a measurement at {step.load} for {step.seconds:g} s"
