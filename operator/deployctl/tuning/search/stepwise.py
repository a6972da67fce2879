"""Stepwise: the Strategy, a course that is told one result at a time. Pure."""

import math

from deployctl.tuning.search import verdict
from deployctl.tuning.search.course import Course
from deployctl.tuning.search.ledger import BASELINE, Ledger
from deployctl.tuning.trial import Answer, Configuration, Problem, Result, Step


class Stepwise:
    """Runs a course; see `course` for what it does."""

    def __init__(self, problem: Problem) -> None:
        self._ledger = Ledger(problem)
        self._course = Course(self._ledger)
        self._steps = self._course.steps()
        self._next: Step | None = next(self._steps, None)

    def ask(self) -> Step | None:
        """The next step, the same until it is told; None at the end."""
        return self._next

    def tell(self, step: Step, result: Result) -> None:
        """What came of it."""
        assert step == self._next, "told what was not asked"
        self._ledger.record(step, result)
        try:
            self._next = self._steps.send(result)
        except StopIteration:
            self._next = None

    def answer(self) -> Answer:
        """The best answer so far."""
        finals = self._course.finals.left
        return verdict.answer(self._ledger, finals[0] if finals else None, self._next is None)

    def best(self) -> Configuration | None:
        """What it would choose now: the baseline until something is better. None: nothing yet."""
        course = self._course
        if course.finals.left:
            return course.finals.left[0]
        return course.screens.best if any(run.seen for run in self._ledger.runs) else None

    def remaining(self) -> tuple[int, float]:
        """About how many steps, and server seconds, are left: never more than the budget."""
        if self._next is None:
            return 0, 0.0
        starts, looks = self._course.outlook()
        ledger = self._ledger
        seconds = starts * ledger.startup_s(BASELINE) + looks * self._course.look_s()
        left = max(0.0, ledger.problem.budget_s - ledger.elapsed)
        part = min(1.0, left / seconds) if seconds > 0 else 1.0
        return max(1, math.ceil((starts + looks) * part)), min(seconds, left)
