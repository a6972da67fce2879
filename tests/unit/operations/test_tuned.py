"""`--tuned` as a user gives it: to plan and to render."""

import json
import sys

import pytest

from deployctl.cli import app
from deployctl.operations.prepare import processor
from deployctl.tuning.recommendation import Hardware, Measured, Recommendation
from process_parts import write_checkpoint


@pytest.fixture
def recommendation(tmp_path):
    """Writes one, and returns its path."""

    def write(settings, verdict="winner", **measured):
        about = {
            "objective": "goodput", "model": str(tmp_path / "tiny"), "engine_version": "0.32.0",
            "target": "process", "hardware": Hardware(gpu="cpu", processor=processor()),
            "workload": "chat", "seed": 1, "study": "s", "date": "2026-11-24T09:00:00+00:00",
            **measured,
        }  # fmt: skip
        file = tmp_path / "recommendation.yaml"
        Recommendation(
            verdict=verdict, why="as it is", settings=settings, measured=Measured(**about)
        ).write(file)
        return file

    return write


@pytest.fixture
def args(tmp_path, monkeypatch, capsys):
    """The engine's arguments of a plan."""
    model = write_checkpoint(tmp_path / "tiny")

    def run(*words, code=0):
        fixed = ["deployctl", "plan", "--model", model, "--gpu", "cpu", "-o", "json"]
        monkeypatch.setattr(sys, "argv", [*map(str, (*fixed, *words))])
        with pytest.raises(SystemExit) as stop:
            app.main()
        out, err = capsys.readouterr()
        assert stop.value.code == code, err
        return err if code else (" ".join(json.loads(out)["engine"]["args"]), err)

    return run


def test_a_recommendation_is_in_the_plan(args, recommendation):
    told, err = args("--tuned", recommendation({"max_num_seqs": 64, "async_scheduling": True}))
    assert "--max-num-seqs 64" in told
    assert "--async-scheduling" in told
    assert "tuned: max_num_seqs 64" in err


def test_a_flag_wins_and_is_warned_of(args, recommendation):
    told, err = args("--tuned", recommendation({"max_num_seqs": 64}), "--max-num-seqs", 8)
    assert "--max-num-seqs 8" in told
    assert "warning: max_num_seqs is 8, as given by flag or variable; 64 is what was" in err


def test_a_variable_wins_too(args, recommendation, monkeypatch):
    monkeypatch.setenv("DEPLOYCTL_MAX_NUM_SEQS", "9")
    assert "--max-num-seqs 9" in args("--tuned", recommendation({"max_num_seqs": 64}))[0]


def test_an_engine_argument_given_as_a_flag_wins(args, recommendation):
    file = recommendation({"async_scheduling": True})
    told, _ = args("--tuned", file, "--engine-arg", "async_scheduling=false")
    assert "--no-async-scheduling" in told


def test_nothing_to_change_is_said(args, recommendation):
    told, err = args("--tuned", recommendation({}, "baseline_best"))
    assert "--max-num-seqs" not in told
    assert "baseline best: as it is; it changes nothing" in err


def test_measured_elsewhere_it_is_refused_unless_told(args, recommendation):
    file = recommendation({"max_num_seqs": 64}, hardware=Hardware(gpu="h100"))
    err = args("--tuned", file, code=2)
    assert "it was measured on 1 × h100, and this is cpu" in err
    assert "--tuned-anyway" in err
    told, err = args("--tuned", file, "--tuned-anyway")
    assert "--max-num-seqs 64" in told
    assert "warning: it was measured on 1 × h100" in err


def test_what_the_engine_does_not_have_is_refused_by_the_plan(args, recommendation):
    err = args("--tuned", recommendation({"warp_speed": 9}), code=3)
    assert "unknown_flag" in err or "warp" in err


def test_it_is_for_one_service_and_one_card(args, recommendation, tmp_path):
    file = recommendation({"max_num_seqs": 64})
    assert "for one GPU" in args("--tuned", file, "--compare", "l4,h100", code=2)
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("name: a\nport: 1\n---\nname: b\nport: 2\n")
    assert "for one service, and 2 are given" in args("-f", fleet, "--tuned", file, code=2)
