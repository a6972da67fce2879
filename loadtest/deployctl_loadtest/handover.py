"""Raw samples of distributed load processes, handed to the master as they come. Needs Locust.

Locust's own reports round values and may lose the last ones, so samples travel in messages of
ours. A worker sends what it has once a second, and at its end the rest and a report that says
how many there were; the master waits for every report before it lets the workers go. What a
killed worker had not handed over yet is lost, and so is its report: both are then known.
"""

import dataclasses
import json
import os
import re
import socket
import time
from pathlib import Path
from typing import Any

import gevent

from deployctl_loadtest.progress import Counts, complain, tell
from deployctl_loadtest.sample import Sample, WorkerReport
from deployctl_loadtest.writer import SampleWriter

SAMPLES, REPORT, COUNTS = "deployctl_samples", "deployctl_report", "deployctl_counts"
_BATCH = 1000  # samples a message
_AHEAD_S = 1.0  # from the master's word to the run's start, so that all begin at once
_REPORTS_S = 30.0  # how long the master waits for reports at the end
_LATE_S = 10.0  # how long after the limit the master ends a run that its workers have not


def name() -> str:
    """What this process is called in the results: its machine (or pod) and process id."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())
    return f"{host}-{os.getpid()}"


class HandOver:
    """The worker's end; takes the place of a SampleWriter."""

    def __init__(self, runner: Any, worker: str) -> None:
        self._runner = runner
        self._worker = worker
        self._lines: list[str] = []
        self.written = 0

    def write(self, sample: Sample) -> None:
        """Adds a sample. The master has it after the next `flush`."""
        self._lines.append(json.dumps(sample.to_dict(), separators=(",", ":")))
        self.written += 1
        if len(self._lines) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Hands over what was written so far."""
        if self._lines:
            lines, self._lines = self._lines, []
            self._runner.send_message(SAMPLES, {"worker": self._worker, "lines": lines})

    def close(self, report: WorkerReport) -> None:
        """Hands over everything, and says how much that was."""
        self.flush()
        self._runner.send_message(REPORT, {"worker": self._worker, "report": report.to_dict()})


class Gathering:
    """The master's end of a run: starts the workers together, collects, and ends them."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        options = environment.parsed_options
        self._options = options
        # Custom options reach the workers with the word to start.
        options.epoch = time.time() + _AHEAD_S
        self._began = {client.id for client in environment.runner.clients.ready}
        options.share = max(1, len(self._began))
        if options.seed < 0:
            options.seed = int.from_bytes(os.urandom(4))
        self._folder = Path(options.samples) if options.samples else None
        self._counts: dict[str, Counts] = {}  # by the client's id
        self._writers: dict[str, SampleWriter] = {}
        self._reported: set[str] = set()
        self._failed = False
        self._parent = os.getppid()
        self._watch = gevent.spawn(self._watching)

    def receive(self, kind: str, client: str, data: dict[str, Any]) -> None:
        """A worker's message."""
        if kind == COUNTS:
            self._counts[client] = Counts(**data)
            return
        try:
            if kind == SAMPLES:
                if (writer := self._writer(data["worker"])) is not None:
                    writer.write_lines(data["lines"])
                    writer.flush()
            else:
                self._reported.add(client)  # also where there is no room for it
                if (writer := self._writer(data["worker"])) is not None:
                    writer.close(WorkerReport.from_dict(data["report"]))
        except OSError as error:
            if not self._failed:
                complain(error)
            self._failed = True

    def finished(self) -> bool:
        """Whether every worker that lives has done its share."""
        living = self._living()
        told = [self._counts.get(client) for client in living]
        return bool(told) and all(counts is not None and counts.finished for counts in told)

    def stopping(self) -> None:
        """Nothing to do: the workers cut what is theirs."""

    def close(self) -> None:
        """The run has ended."""
        self._watch.kill(block=False)

    def end(self) -> None:
        """Ends the run and waits until every worker that lives has handed over."""
        runner = self._environment.runner
        runner.stop()
        if self._folder is None:
            return  # workers that keep no samples report none
        until = time.monotonic() + _REPORTS_S
        while time.monotonic() < until and not self._living() <= self._reported:
            gevent.sleep(0.05)

    def _writer(self, worker: str) -> SampleWriter | None:
        if self._folder is None:
            return None
        if worker not in self._writers:
            self._writers[worker] = SampleWriter(self._folder, worker)
        return self._writers[worker]

    def _living(self) -> set[str]:
        """Workers that take part in this run and have not gone missing, also before their first
        word: of a short run one may have done its share before another has said anything."""
        part = self._began | self._counts.keys()
        clients = self._environment.runner.clients
        return {c.id for c in clients.all if c.state != "missing" and c.id in part}

    def _watching(self) -> None:
        told = time.time()
        limit = self._options.stop_after
        while True:
            gevent.sleep(0.05)
            now = time.time()
            if self.finished():
                break
            if (limit and now > self._options.epoch + limit + _LATE_S) or self._failed:
                break
            if now - told >= 1.0 and self._options.progress:
                told = now
                if os.getppid() != self._parent or not tell(self._sum(now)):
                    break
        gevent.spawn(self._finish)

    def _finish(self) -> None:
        self.end()
        self._environment.runner.quit()

    def _sum(self, now: float) -> Counts:
        total = Counts(at_s=round(now - self._options.epoch, 2))
        for counts in self._counts.values():
            for field in ("users", "in_flight", "done", "failed", "chunks"):
                setattr(total, field, getattr(total, field) + getattr(counts, field))
        return total


def counts_message(counts: Counts) -> dict[str, Any]:
    """Counts as a message's data."""
    return dataclasses.asdict(counts)
