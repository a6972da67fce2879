"""Thousands of hostile inputs over all verbs: an exit code, a hint, no traceback, nothing left.

    pytest tests/unit/hostile/test_inputs.py            1,000, through the command line's own entry
    ./test night -k hostile                             10,000, and 300 as processes of their own

No engine starts: a rollout is refused where it would begin, and in the place of Locust there is one
that reads what the server would have streamed.
"""

import pytest

from deployctl.errors import TargetError
from deployctl.load import locust
from deployctl.operations.github.comment import read_report
from deployctl.reports import plots
from deployctl.targets.rollout import Rollout
from deployctl_loadtest.foreign import TooMuchError
from deployctl_loadtest.sample import Sample, WorkerReport
from deployctl_loadtest.sse import Stream
from deployctl_loadtest.writer import SampleWriter

from .inputs import REVIEW, make
from .runner import Stage, a_record

FEW, MANY, PROCESSES = 1000, 10_000, 300
SHOWN = 25


@pytest.fixture
def stage(tmp_path, make_release):
    with Stage(tmp_path, a_record(make_release(status="deployed"))) as stage:
        yield stage


@pytest.fixture
def no_engine(monkeypatch, stage):
    def refuse(*_, **__):
        raise TargetError("no engine starts here", hint="this is a test")

    def measured(setup, folder, endpoint, tell):
        """A request as the load client would have read it."""
        stream = Stream([])
        sample = Sample("w", 0.1, "ok", ttft_s=0.1, duration_s=0.5, e2e_s=0.4, http_status=200)
        try:
            stream.block(stage.answer("stream").partition(b"\r\n\r\n")[2] + b"\n", 0.3)
        except TooMuchError as error:
            sample.outcome, sample.error = "stream_error", str(error)
        sample.response_id, sample.finish_reason = stream.response_id, stream.finish_reason
        sample.input_tokens, sample.output_tokens = stream.input_tokens, stream.output_tokens
        if stream.error:
            sample.outcome, sample.error, sample.e2e_s = "stream_error", stream.error, None
        writer = SampleWriter(folder, "w")
        writer.write(sample)
        writer.close(WorkerReport("w", 0.0, 1.0, 1, [(0.5, 0.1)], [(0.5, 0.001)]))
        return locust.TO_THE_END

    monkeypatch.setattr(Rollout, "up", refuse)
    monkeypatch.setattr(locust, "run", measured)
    for name in ("latency", "timeline", "server_timeline", "waterfall"):  # each takes half a second
        monkeypatch.setattr(plots, name, lambda *_, **__: "")


def wrong(run, numbers):
    """Number, words and what is wrong, of the inputs that something is wrong with."""
    found = []
    for number in numbers:
        given = make(number)
        if (problem := run(number, given).problem(given)) is not None:
            found.append(f"{number}: {given.words} {given.variables or ''}\n    {problem}")
    return found


def test_what_a_comment_is_made_of_is_a_review_before_it_is_changed():
    assert read_report(REVIEW.decode(), "review.json").verdict == "wrong"


def test_hostile_inputs_end_as_they_should(stage, no_engine):
    found = wrong(stage.run, range(FEW))
    assert not found, f"{len(found)} of {FEW}:\n" + "\n".join(found[:SHOWN])


@pytest.mark.night
def test_many_hostile_inputs_end_as_they_should(stage, no_engine):
    found = wrong(stage.run, range(FEW, MANY))
    assert not found, f"{len(found)}:\n" + "\n".join(found[:SHOWN])


@pytest.mark.night
def test_hostile_inputs_as_processes_keep_to_their_limits(stage):
    # Locust's own start takes longer than these may; what it reads is in test_load_client.py.
    numbers = (n for n in range(MANY) if make(n).words[0] not in ("loadtest", "up", "tune"))
    found = wrong(stage.start, [next(numbers) for _ in range(PROCESSES)])
    assert not found, f"{len(found)} of {PROCESSES}:\n" + "\n".join(found[:SHOWN])
