"""The study's file: what is written is read back, and what was cut short is not there."""

import errno
import json
import os
from dataclasses import replace

import pytest

from deployctl.errors import InputError, LockedError, NotFoundError, StateError
from deployctl.tuning import study as studies
from deployctl.tuning.events import Done, Finished, Interrupted, Restarted
from deployctl.tuning.trial import Failure, Invalid, Load, Measure, Start, Started
from tune_parts import configuration, header, observation

LOAD = Load("rate", 2.0)
EVENTS = [
    Done(Start(configuration(None), "baseline", "first"), Started(31.25), 1),
    Done(Measure(LOAD, 10.0, "baseline", "the first load"), observation(LOAD, 1 / 3), 1),
    Done(Measure(LOAD, 10.0, "screen", "again"), Invalid("the client was late", 12.0), 1),
    Restarted(configuration(None), 1, Started(28.0)),
    Restarted(configuration(8), 1, Failure("start_refused", "no", 4.0)),
    Done(Start(configuration(8), "screen", "s"), Failure("never_healthy", "silent", 300.0), 2),
    Interrupted("interrupted"),
    Finished({"version": 1, "verdict": "winner", "server_minutes": 7.5}),
]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "study"


def filled(folder):
    study = studies.create(folder, header())
    for event in EVENTS:
        assert study.record(event) == event
    return study


def test_what_is_written_is_read_again(folder):
    filled(folder)
    read = studies.opened(folder)
    assert read.header == header()
    assert read.events == EVENTS
    assert read.trials == 2
    assert read.server_s == 31.25 + 12.5 + 12.0 + 28.0 + 4.0 + 300.0
    assert [done.trial for done in read.done] == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("slo", "turns"),
    [
        (None, 0.95),
        ("ttft_p90=1s", 0.9),
        ("itl_p50=50ms", 0.95),
        ("itl_p50=50ms,e2e_p99=4s", 0.99),
        ("ttft_p10=1s", 0.5),
        ("ttft_p99.9=1s", 0.995),
    ],
)
def test_the_problem_knows_at_which_share_of_good_requests_its_slo_turns(slo, turns):
    problem = replace(header(), slo=slo).problem()
    assert (problem.has_slo, problem.turns) == (slo is not None, turns)


def test_a_spec_leaves_unset_what_it_left_unset(folder):
    studies.create(folder, header())
    spec = studies.opened(folder).header.spec
    assert spec.model_fields_set == {"model", "gpu", "target", "replicas"}


def test_values_keep_their_types(folder):
    study = studies.create(folder, header())
    settings = {"a": True, "b": 1, "c": 1.0, "d": "1", "e": 0.9}
    wanted = type(configuration(None)).of(settings)
    study.record(Done(Start(wanted, "screen", ""), Started(1.0), 1))
    read = studies.opened(folder).done[0].step.configuration.settings
    assert read == settings
    assert [type(v) for v in read.values()] == [bool, int, float, str, float]


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_torn_last_line_is_dropped_and_written_over(folder, cut):
    study = filled(folder)
    whole = study.file.read_bytes()
    study.file.write_bytes(whole[:-cut])
    read = studies.opened(folder)
    assert read.events == EVENTS[:-1]
    read.record(EVENTS[-1])
    assert study.file.read_bytes() == whole


def test_a_damaged_line_in_the_middle_is_told(folder):
    study = filled(folder)
    lines = study.file.read_text().splitlines(keepends=True)
    study.file.write_text("".join([*lines[:2], "{torn\n", *lines[3:]]))
    with pytest.raises(StateError) as caught:
        studies.opened(folder)
    assert caught.value.where == f"{study.file}:3"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"event": "somersault"}, "'somersault'"),
        ({"start": {"configuration": 3}}, "start"),
        ({"started": {"seconds": "soon"}}, "seconds"),
        ({"trial": None}, "lacks"),
    ],
)
def test_an_event_that_is_none_is_told(folder, change, told):
    study = studies.create(folder, header())
    study.record(EVENTS[0])
    first, second = study.file.read_text().splitlines()
    broken = {**json.loads(second), **change}
    if change == {"event": "somersault"}:
        broken = change
    study.file.write_text(f"{first}\n{json.dumps(broken)}\n")
    with pytest.raises(StateError, match=told):
        studies.opened(folder)


def test_a_newer_format_is_refused(folder):
    study = studies.create(folder, header())
    text = study.file.read_text().replace('"version":1', '"version":2')
    study.file.write_text(text)
    with pytest.raises(StateError, match="newer deployctl"):
        studies.opened(folder)


def test_there_is_none_or_one_already(folder):
    with pytest.raises(NotFoundError):
        studies.opened(folder)
    studies.create(folder, header())
    with pytest.raises(InputError, match="already"):
        studies.create(folder, header())


def test_a_study_that_never_got_its_header_is_begun_again(folder):
    folder.mkdir()
    (folder / studies.FILE).write_text('{"event":"stu')
    with pytest.raises(StateError, match="has no header"):
        studies.opened(folder)
    studies.create(folder, header())
    assert studies.opened(folder).events == []


def test_a_full_disk_loses_nothing_that_was_written(folder, monkeypatch):
    study = studies.create(folder, header())
    study.record(EVENTS[0])
    before = study.file.read_bytes()
    real = os.write

    def full(descriptor, content):
        # Half of the line still finds room.
        if len(content) > 30:
            return real(descriptor, content[:30])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StateError) as caught:
        study.record(EVENTS[1])
    monkeypatch.undo()
    assert "disk is full" in caught.value.hint
    assert study.file.read_bytes() == before
    assert study.events == EVENTS[:1]
    study.record(EVENTS[1])
    assert studies.opened(folder).events == EVENTS[:2]


def test_a_study_is_held_by_one(folder):
    studies.create(folder, header())
    with studies.held(folder), pytest.raises(LockedError, match="deployctl tune"):  # noqa: SIM117
        with studies.held(folder):
            pass


def test_what_differs_is_named():
    mine = header()
    assert mine.differences(mine) == []
    other = header(
        spec=mine.spec.model_copy(update={"max_model_len": 512}),
        slo=None,
        budget_s=60.0,
        parameters=(),
        seed=8,
    )
    assert mine.differences(other) == [
        "spec: max_model_len None, now 512",
        "slo: ttft_p95=500ms, now None",
        "the space of settings",
        "budget_s: 600.0, now 60.0",
        "seed: 7, now 8",
    ]
