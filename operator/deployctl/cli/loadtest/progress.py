"""Live progress of a load test on stderr: a bar in a terminal, a line now and then in a pipe."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from deployctl.cli.console import err, story

if TYPE_CHECKING:
    from deployctl.load.locust import Progress
    from deployctl_loadtest.result import Setup

_LINE_EVERY_S = 10.0  # in a pipe


class LoadProgress:
    """Shows what `tell` is told, between `with` and its end."""

    def __init__(self, setup: "Setup") -> None:
        self._setup = setup
        self._total = setup.cut_s + setup.duration_s
        self._of_seconds, self._of_requests = f"/{self._total:g}", ""
        if setup.mode == "trace":
            self._of_seconds = ""
        if setup.requests is not None:
            self._of_seconds, self._of_requests = "", f"/{setup.requests}"
        self._last: Progress | None = None
        self._line_at = 0.0
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "LoadProgress":
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
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def tell(self, progress: "Progress") -> None:
        """Shows the newest state."""
        failed = f", {progress.failed} failed" if progress.failed else ""
        if self._setup.mode == "closed":
            load = "1 user" if progress.users == 1 else f"{progress.users} users"
        else:
            load = f"{progress.in_flight} under way"
        # Where conversations have several turns, --requests are conversations, and these are more.
        beyond = self._setup.requests is not None and progress.done > self._setup.requests
        of_requests = "" if beyond else self._of_requests
        requests = "request" if (of_requests or str(progress.done)) == "1" else "requests"
        text = (
            f"{progress.at_s:.0f}{self._of_seconds} s · {load} · "
            f"{progress.done}{of_requests} {requests} done{failed} · "
            f"{self._rate(progress):.0f} tok/s"
        )
        phase = "warming up" if progress.at_s < self._setup.cut_s else "measuring"
        if self._bar is not None:
            done = min(progress.at_s, self._total)
            if self._setup.requests is not None:
                done = self._total * min(1.0, progress.done / self._setup.requests)
            self._bar.update(self._task, completed=done, description=phase, text=text)
        elif (now := time.monotonic()) - self._line_at >= _LINE_EVERY_S:
            self._line_at = now
            story(f"{phase} {text}")
        self._last = progress

    def _rate(self, progress: "Progress") -> float:
        """Chunks a second since the last line: tokens, where a chunk holds one."""
        last = self._last
        at, chunks = (0.0, 0) if last is None else (last.at_s, last.chunks)
        seconds = progress.at_s - at
        return (progress.chunks - chunks) / seconds if seconds > 0 else 0.0
