"""Live progress of load tests on stderr: a bar in a terminal, a line now and then in a pipe."""

import time
from typing import Any

from deployctl.cli.console import LINE_EVERY_S, err, story, tell
from deployctl.events import Event
from deployctl.load.locust import Progress
from deployctl_loadtest.result import Setup


class LoadProgress:
    """Call it with the events of load tests, between `with` and its end."""

    def __init__(self) -> None:
        self._setup: Setup | None = None  # of the run that is under way
        self._total = 0.0
        self._of_seconds = self._of_requests = ""
        self._last: Progress | None = None
        self._line_at = 0.0
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "LoadProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def takes(self, event: Event) -> bool:
        """Whether an event is of one load test: that it begins, or how far it is."""
        return isinstance(event.detail, Progress | Setup)

    def __call__(self, event: Event) -> None:
        """Tells one event."""
        if event.kind == "progress":
            if self._setup is not None and isinstance(event.detail, Progress):
                self._show(self._setup, event.detail)
            return
        if event.kind == "note" and self._setup is not None and self._last is None:
            tell(event)  # of the run that begins: its bar stays
            return
        self.end()
        if isinstance(event.detail, Setup):
            self._begin(event.detail)
            story(event.text)
        else:
            tell(event)

    def _begin(self, setup: Setup) -> None:
        self._setup, self._last, self._line_at = setup, None, 0.0
        self._total = setup.cut_s + setup.duration_s
        self._of_seconds, self._of_requests = f"/{self._total:g}", ""
        if setup.mode == "trace":
            self._of_seconds = ""
        if setup.requests is not None:
            self._of_seconds, self._of_requests = "", f"/{setup.requests}"
        if err.is_terminal:
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[text]}"),
                console=err,
                transient=True,
            )
            self._task = self._bar.add_task("starting", total=self._total, text="")
            self._bar.start()

    def end(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        self._setup = None

    def _show(self, setup: Setup, progress: Progress) -> None:
        failed = f", {progress.failed} failed" if progress.failed else ""
        if setup.mode == "closed":
            load = "1 user" if progress.users == 1 else f"{progress.users} users"
        else:
            load = f"{progress.in_flight} under way"
        # Where conversations have several turns, --requests are conversations, and these are more.
        beyond = setup.requests is not None and progress.done > setup.requests
        of_requests = "" if beyond else self._of_requests
        requests = "request" if (of_requests or str(progress.done)) == "1" else "requests"
        text = (
            f"{progress.at_s:.0f}{self._of_seconds} s · {load} · "
            f"{progress.done}{of_requests} {requests} done{failed} · "
            f"{self._rate(progress):.0f} tok/s"
        )
        phase = "warming up" if progress.at_s < setup.cut_s else "measuring"
        if self._bar is not None:
            done = min(progress.at_s, self._total)
            if setup.requests is not None:
                done = self._total * min(1.0, progress.done / setup.requests)
            self._bar.update(self._task, completed=done, description=phase, text=text)
        elif (now := time.monotonic()) - self._line_at >= LINE_EVERY_S:
            self._line_at = now
            story(f"{phase} {text}")
        self._last = progress

    def _rate(self, progress: Progress) -> float:
        """Chunks a second since the last line: tokens, where a chunk holds one."""
        last = self._last
        at, chunks = (0.0, 0) if last is None else (last.at_s, last.chunks)
        seconds = progress.at_s - at
        return (progress.chunks - chunks) / seconds if seconds > 0 else 0.0
