"""Trials of a study, told to whoever watches: from an engine's start to its last figures."""

import time
from collections.abc import Callable

from deployctl.operations.announce.happening import Happening
from deployctl.operations.tune.progress import outcome
from deployctl.tuning.events import Done, StudyEvent
from deployctl.tuning.runner import Begun
from deployctl.tuning.trial import Failure, Goal


class Trials:
    """Listens to a runner."""

    def __init__(
        self,
        service: str,
        goal: Goal,
        happened: Callable[[Happening], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._service, self._goal = service, goal
        self._happened, self._clock = happened, clock
        self._current: Happening | None = None
        self._number = 0

    def __call__(self, event: Begun | StudyEvent) -> None:
        """Takes one event."""
        if isinstance(event, Begun) and (event.trial != self._number or self._current is None):
            self.end()
            self._number = event.trial
            text = f"trial {event.trial} of {self._service}: {event.configuration}"
            self._current = Happening("trial", self._service, text, self._clock())
        elif isinstance(event, Done) and self._current is not None:
            began = self._current
            what = outcome(event.result, self._goal)
            self._current = began._replace(
                text=f"{began.text.partition(' · ')[0]} · {what}",
                end_s=self._clock(),
                failed=isinstance(event.result, Failure),
            )

    def end(self) -> None:
        """The last one has ended; of one that was cut short before its first figure, nothing."""
        if self._current is not None and self._current.end_s is not None:
            self._happened(self._current)
        self._current = None
