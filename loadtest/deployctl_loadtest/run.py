"""A run inside one Locust process: its clock, its samples, its end, and what it tells of itself."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import gevent

from deployctl_loadtest.heartbeat import PERIOD, Heartbeat
from deployctl_loadtest.priority import raise_priority
from deployctl_loadtest.request import Workload
from deployctl_loadtest.sample import Sample, WorkerReport
from deployctl_loadtest.writer import SampleWriter

PROGRESS_MARK = "@progress "  # begins the lines that `--progress` writes to stdout
clock = time.perf_counter


class Run:
    """From Locust's test_start to its test_stop."""

    def __init__(self, environment: Any) -> None:
        options = environment.parsed_options
        self._environment = environment
        self.epoch = clock()
        self._started_unix = time.time()
        self.worker = f"{os.getpid()}"
        # Unlike the pid the same in every run, so that a seed fixes the prompts.
        self._index = int(getattr(environment.runner, "worker_index", 0))
        self.workload = Workload(
            model=options.model,
            api=options.api,
            input_tokens=options.input_tokens,
            output_tokens=options.output_tokens,
            ignore_eos=options.ignore_eos,
            # Every run of a process has its own prompts, unless a seed says otherwise.
            seed=options.seed if options.seed >= 0 else int.from_bytes(os.urandom(4)),
        )
        self.patience: float = options.request_timeout
        self._limit: float = options.stop_after
        self._progress: bool = options.progress
        self._parent = os.getppid()
        self._scheduling = raise_priority() if options.realtime else "normal"
        self._writer = SampleWriter(Path(options.samples), self.worker) if options.samples else None
        self._numbers = 0
        self._chunks = self._done = self._failed = 0
        self._ended: float | None = None
        self._heart = Heartbeat(self.epoch)
        self._watch = gevent.spawn(self._watching)

    def body(self) -> bytes:
        """The body of the next request."""
        self._numbers += 1
        return self.workload.body(self._index, self._numbers)

    def seen(self, chunks: int) -> None:
        """Counts text chunks for live progress."""
        self._chunks += chunks

    def take(self, sample: Sample) -> None:
        """Keeps a sample and shows it in Locust's own tables."""
        self._done += sample.outcome == "ok"
        self._failed += sample.failed
        self._keep(sample)
        if sample.outcome != "incomplete":
            # A row a gap costs more than reading the gap did; where raw samples are kept
            # and nobody watches, it is left out.
            gaps = self._writer is None or self._environment.web_ui is not None
            show(self._environment.events.request, sample, self.workload.path, gaps=gaps)

    def _keep(self, sample: Sample | None = None) -> bool:
        """Writes a sample, or hands over what was written; False if the disk is full."""
        try:
            if self._writer and sample:
                self._writer.write(sample)
            elif self._writer:
                self._writer.flush()
        except OSError as error:
            if self._ended is None:
                sys.stderr.write(f"error: raw samples cannot be written: {error}\n")
            self.stopping()
            return False
        return True

    def stopping(self) -> None:
        """The run ends now; what is under way will be cut."""
        if self._ended is None:
            self._ended = clock()

    def close(self) -> None:
        """Hands everything over."""
        self.stopping()
        self._watch.kill(block=False)
        if self._writer is None:
            return
        assert self._ended is not None
        writer, self._writer = self._writer, None
        report = WorkerReport(
            worker=self.worker,
            started_unix_s=self._started_unix,
            ran_for_s=self._ended - self.epoch,
            samples=writer.written,
            cpu=self._heart.cpu,
            lags_s=self._heart.lags_s,
            scheduling=self._scheduling,
        )
        try:
            writer.close(report)
        except OSError as error:
            sys.stderr.write(f"error: raw samples cannot be written: {error}\n")

    def _watching(self) -> None:
        told = self.epoch
        while True:
            gevent.sleep(PERIOD)
            now = clock()
            self._heart.beat(now)
            if self._limit and now - self.epoch >= self._limit:
                break
            if now - told >= 1.0:
                told = now
                if not self._keep():
                    break
                if self._progress and not self._tell(now):
                    break  # nobody is left to read the result
        self.stopping()
        gevent.spawn(self._environment.runner.quit)

    def _tell(self, now: float) -> bool:
        """Writes a line of progress; False if whoever started this is gone."""
        if os.getppid() != self._parent:
            return False
        line = {
            "at_s": round(now - self.epoch, 2),
            "users": self._environment.runner.user_count,
            "done": self._done,
            "failed": self._failed,
            "chunks": self._chunks,
        }
        try:
            sys.stdout.write(PROGRESS_MARK + json.dumps(line) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            return False
        return True


def show(request_event: Any, sample: Sample, path: str, *, gaps: bool) -> None:
    """Fires Locust's events, so that its UI and statistics have a row for each measure.

    Its "Aggregated" row mixes them all and means nothing.
    """
    failure = RuntimeError(f"{sample.outcome}: {sample.error}") if sample.failed else None
    request_event.fire(
        request_type="E2E",
        name=path,
        response_time=1000 * (sample.e2e_s if sample.e2e_s is not None else sample.duration_s),
        response_length=sample.output_tokens or sample.chunks,
        exception=failure,
        context={},
    )
    measures: list[tuple[str, float]] = []
    if sample.ttft_s is not None:
        measures.append(("TTFT", sample.ttft_s))
    if sample.tpot_s is not None:
        measures.append(("TPOT", sample.tpot_s))
    if gaps:
        measures.extend(("ITL", gap) for gap in sample.chunk_gaps_s)
    for name, seconds in measures:
        request_event.fire(
            request_type=name,
            name=path,
            response_time=1000 * seconds,
            response_length=0,
            exception=None,
            context={},
        )
