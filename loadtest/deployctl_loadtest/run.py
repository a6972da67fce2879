"""A run inside one load process: what it asks, its clock, its samples, and its end."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import gevent
from locust.runners import WorkerRunner

from deployctl_loadtest import arrivals, handover, replay, workload
from deployctl_loadtest.deliver import Delivery
from deployctl_loadtest.exchange import RunEnded, exchange
from deployctl_loadtest.heartbeat import PERIOD, Heartbeat
from deployctl_loadtest.openloop import Due, OpenLoop, most_in_flight
from deployctl_loadtest.priority import calm_the_collector, raise_priority
from deployctl_loadtest.progress import Counts, complain, tell
from deployctl_loadtest.prompts import Conversation, Prompts
from deployctl_loadtest.request import Target
from deployctl_loadtest.rows import show
from deployctl_loadtest.sample import Sample, WorkerReport
from deployctl_loadtest.words import Vocabulary
from deployctl_loadtest.writer import SampleWriter

clock = time.monotonic  # one for all processes of a host, and set by nobody
_MAKING_S = 0.0004  # to make a user and get it going; the first request waits for all of them
_APART_S = 0.001  # between the first requests of two users; to send one takes a third of it


class Run:
    """From Locust's test_start to its test_stop."""

    def __init__(self, environment: Any, headers: dict[str, str], came: Delivery | None) -> None:
        options = environment.parsed_options
        self._environment = environment
        self._options = options
        self._headers = headers
        now = time.time() - (came.ahead_s if came else 0.0)
        # Workers of one run begin together, at the moment that the master chose.
        self.epoch = clock() + (options.epoch or now) - now
        self._distributed = isinstance(environment.runner, WorkerRunner)
        self.worker = handover.name() if self._distributed else f"{os.getpid()}"
        self._index = environment.runner.worker_index if self._distributed else 0
        self._count: int = options.share if self._distributed else 1
        # Every run of a process has its own prompts, unless a seed says otherwise.
        self._seed = options.seed if options.seed >= 0 else int.from_bytes(os.urandom(4))
        self.target = Target(
            model=options.model,
            api=options.api,
            ignore_eos=options.ignore_eos,
            extra=json.loads(options.extra_body),
        )
        self._prompts = Prompts(
            workload.load(options.workload).with_lengths(
                options.input_tokens, options.output_tokens
            ),
            self.target,
            Vocabulary.load(options.vocabulary),
            self._seed,
        )
        self._trace = replay.load(options.trace) if options.trace else []
        self._limit: float = options.stop_after
        self._parent = os.getppid()
        self._scheduling = raise_priority() if options.realtime else "normal"
        self._writer: SampleWriter | handover.HandOver | None = None
        if options.samples and self._distributed:
            self._writer = handover.HandOver(environment.runner, self.worker)
        elif options.samples:
            self._writer = SampleWriter(Path(options.samples), self.worker)
        if options.realtime:
            calm_the_collector()
        # Users need open files, too.
        self._most = most_in_flight(1 if came and came.apart else self._count)
        self._open: OpenLoop | None = None
        self._turn = 0.0  # when the last user began
        self._taken = 0  # numbers
        self._under_way = 0
        self._exhausted = False  # all requests asked for were sent
        self._chunks = self._done = self._failed = 0
        self._last = self.epoch  # when a request last ended
        self._ended: float | None = None
        self._unwritten = False  # the disk is full, or gone
        self._heart = Heartbeat(self.epoch)
        self._watch = gevent.spawn(self._watching)

    @property
    def is_open_loop(self) -> bool:
        """Whether requests are due at times of their own."""
        return bool(self._options.rate or self._trace)

    def wait_for_the_start(self) -> None:
        """Returns when the run has begun."""
        if (left := self.epoch - clock()) > 0:
            gevent.sleep(left)

    def take_turn(self) -> None:
        """Lets users begin one after another: all at once they would measure their own queue."""
        now = clock()
        made = now + _MAKING_S * (self._options.num_users or 0)
        self._turn = max(self._turn + _APART_S, now) if self._turn else made
        gevent.sleep(self._turn - now)

    def next_number(self) -> int | None:
        """Numbers the next request of this process, over the whole run; None past the end."""
        number = self._taken * self._count + self._index
        if self._ended is not None or (0 < self._options.requests <= number):
            self._exhausted = True
            return None
        self._taken += 1
        return number

    def ask(self, client: Any, number: int) -> bool:
        """Holds conversation `number` of the run; False if it failed.

        Raises:
            GreenletExit: the run has ended.
        """
        return self._converse(client, self._prompts.conversation(number), None)

    def _converse(self, client: Any, talk: Conversation, due: float | None) -> bool:
        self._under_way += 1
        try:
            replies: list[str] = []
            while True:
                last = len(replies) + 1 == len(talk.turns)
                reply: list[str] | None = None if last else []
                body = talk.body(replies) if replies else talk.first
                if not self._exchange(client, body, due, reply):
                    return False
                if reply is None:
                    return True
                replies.append("".join(reply))
                due = None  # what follows an answer has no schedule
                gevent.sleep(talk.think_s)
        finally:
            self._under_way -= 1
            self._last = clock()

    def _exchange(
        self, client: Any, body: bytes, due: float | None, reply: list[str] | None
    ) -> bool:
        try:
            sample = exchange(
                client,
                self.target.path,
                body,
                self._headers,
                worker=self.worker,
                epoch=self.epoch,
                clock=clock,
                timeout_s=self._options.request_timeout,
                seen=self._seen,
                due=due,
                reply=reply,
            )
        except RunEnded as ended:
            self._take(ended.sample)
            raise gevent.GreenletExit from None
        self._take(sample)
        return not sample.failed

    def send_what_is_due(self, connect: Callable[[], Any]) -> None:
        """Runs the open loop to its end. A second caller has nothing to do."""
        if self._open is not None:
            return
        self._open = OpenLoop(self._converse, connect, clock, limit=self._most)
        self._open.run(self._schedule(), self.epoch)
        self._exhausted = True

    def _schedule(self) -> Iterator[Due]:
        options = self._options
        if self._trace:
            due: Iterable[float] = (row.at_s / options.trace_speed for row in self._trace)
        else:
            due = arrivals.schedule(
                options.rate, options.arrivals, f"{self._seed}/arrivals", options.ramp
            )
        for number, at in enumerate(due):
            if (self._limit and at >= self._limit) or (0 < options.requests <= number):
                return
            if number % self._count == self._index:
                if self._trace:
                    talk = self._prompts.of_trace(number, self._trace[number])
                else:
                    talk = self._prompts.conversation(number)
                yield Due(at, number, talk, len(talk.first))

    def _seen(self, chunks: int) -> None:
        self._chunks += chunks

    def _take(self, sample: Sample) -> None:
        """Keeps a sample and shows it in Locust's own tables."""
        self._done += sample.outcome == "ok"
        self._failed += sample.failed
        self._keep(sample)
        if sample.outcome != "incomplete":
            # A row a gap costs more than reading the gap did; where raw samples are kept
            # and nobody watches, it is left out.
            gaps = self._writer is None or self._environment.web_ui is not None
            show(self._environment.events.request, sample, self.target.path, gaps=gaps)

    def _keep(self, sample: Sample | None = None) -> bool:
        """Writes a sample, or hands over what was written; False if the disk is full."""
        try:
            if self._writer and sample:
                self._writer.write(sample)
            elif self._writer:
                self._writer.flush()
        except OSError as error:
            if not self._unwritten:
                complain(error)
            self._unwritten = True
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
        if self._open is not None:
            self._open.cut()
        if self._writer is None:
            return
        assert self._ended is not None
        writer, self._writer = self._writer, None
        report = WorkerReport(
            worker=self.worker,
            started_s=self.epoch,
            ran_for_s=self._ended - self.epoch,
            samples=writer.written,
            cpu=self._heart.cpu,
            lags_s=self._heart.lags_s,
            scheduling=self._scheduling,
            dropped=self._open.dropped if self._open else 0,
            first_drop_s=self._open.first_drop_s if self._open else None,
        )
        try:
            writer.close(report)
        except OSError as error:
            if not self._unwritten:
                complain(error)

    def _watching(self) -> None:
        self.wait_for_the_start()
        told = self.epoch
        while True:
            gevent.sleep(PERIOD)
            now = clock()
            self._heart.beat(now)
            if self._limit and now - self.epoch >= self._limit:
                break
            if self._exhausted and not self._pending():
                self._ended = self._last
                break
            if now - told >= 1.0:
                told = now
                if not self._keep():
                    break
                if not self._tell(now):
                    break  # nobody is left to read the result
        self.stopping()
        if self._distributed:
            self._keep()
            self._tell(clock(), finished=True)  # the master ends what all have finished
        else:
            gevent.spawn(self._environment.runner.quit)

    def _pending(self) -> bool:
        """Whether anything is under way, or still due before the limit of the run."""
        if self._open is None:
            return self._under_way > 0
        return self._open.in_flight > 0 or not (self._options.requests or self._trace)

    def _tell(self, now: float, *, finished: bool = False) -> bool:
        """Tells how far it is; False if whoever started this is gone."""
        if self._options.progress and os.getppid() != self._parent:
            return False
        counts = Counts(
            at_s=round(now - self.epoch, 2),
            users=self._environment.runner.user_count,
            in_flight=self._under_way,
            done=self._done,
            failed=self._failed,
            chunks=self._chunks,
            finished=finished,
        )
        if self._distributed:
            message = handover.counts_message(counts)
            self._environment.runner.send_message(handover.COUNTS, message)
            return True
        return tell(counts) if self._options.progress else True
