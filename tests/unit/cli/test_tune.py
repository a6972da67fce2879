"""`deployctl tune` with a bench and a search of known behaviour: flags, answers, exit codes."""

import json
import sys

import pytest
import yaml

from deployctl.cli import app
from deployctl.errors import TargetError
from deployctl.tuning import study as studies
from deployctl.tuning.trial import Failure
from process_parts import write_checkpoint
from tune_parts import FakeBench, GridSearch

SLO = ["--slo", "ttft_p95=500ms"]
KEYS = {
    "version",
    "verdict",
    "baseline",
    "winner",
    "improvement",
    "trials",
    "server_minutes",
    "study",
    "recommendation",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a checkpoint `tiny`, and records of its own."""
    write_checkpoint(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DEPLOYCTL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


class Bench(FakeBench):
    """In the place of EngineBench. `made` holds every one."""

    made: list
    faults_of_next: dict

    def __init__(self, spec, **given):
        super().__init__(type(self).faults_of_next)
        self.spec, self.given = spec, given
        type(self).made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


@pytest.fixture
def bench(monkeypatch):
    Bench.made, Bench.faults_of_next = [], {}
    monkeypatch.setattr("deployctl.tuning.enginebench.EngineBench", Bench)
    monkeypatch.setattr("deployctl.tuning.search.strategy", lambda problem: GridSearch())
    return Bench


@pytest.fixture
def tune(place, monkeypatch, capsys):
    """Runs the command line in this process: `tune(*words)` gives code, stdout and stderr."""

    def run(*words, model=True):
        own = ["--model", "./tiny", "--gpu", "cpu"] if model else []
        monkeypatch.setattr(sys, "argv", ["deployctl", "tune", *own, *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            app.main()
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        assert "a bug in deployctl" not in told.err
        return caught.value.code, told.out, told.err

    return run


def test_the_answer_is_the_contract(tune, bench, place):
    code, out, err = tune(*SLO, "--study", "s", "--output", "json", "--seed", 7)
    assert code == 0, err
    answer = json.loads(out)
    assert answer.keys() >= KEYS
    assert answer["version"] == 1
    assert answer["verdict"] == "winner"
    assert answer["winner"]["settings"] == {"max_num_seqs": 32}
    assert answer["winner"].keys() >= {"settings", "objective", "interval", "slo_met"}
    assert answer["baseline"]["settings"]["max_num_seqs"] == 128
    assert answer["improvement"]["ratio"] == pytest.approx(1.32 / 1.04)
    assert answer["improvement"]["interval"][0] < answer["improvement"]["ratio"]
    assert answer["trials"] == {"run": 4, "failed": 0, "skipped": 0}
    assert answer["server_minutes"] == round((4 * 3 + 8 * 12.5) / 60, 2)
    assert answer["seed"] == 7
    recommended = yaml.safe_load((place / answer["recommendation"]).read_text())
    assert recommended["settings"] == {"max_num_seqs": 32}
    assert recommended["measured"]["engine_version"] == "0.32.0"
    assert recommended["measured"]["hardware"]["gpu"] == "cpu"
    assert "--max-num-seqs" in recommended["measured"]["args"]
    assert (place / answer["report"]).read_text().startswith("<!")
    study = studies.opened(place / "s")
    assert study.events[-1].answer == answer


def test_text_and_progress(tune, bench):
    code, out, err = tune(*SLO, "--study", "s")
    assert code == 0
    assert "max_num_seqs=32" in out
    assert "deployctl up … --tuned s/recommendation.yaml" in out
    assert "trial 3 of about" in err
    assert "best so far" in err
    assert "left" in err
    assert "rate=2.5: held" in err


def test_the_bench_gets_the_service_as_it_is(tune, bench, place):
    tune(*SLO, "--max-model-len", 256, "--max-num-seqs", 64)
    made = bench.made[0]
    assert made.spec.model == str(place / "tiny")
    assert (made.spec.max_num_seqs, made.spec.max_model_len, made.spec.replicas) == (64, 256, 1)
    assert made.given["slo"].text == "ttft_p95=500ms"
    carried = made.given["prepare"](made.spec)
    assert carried.plan.verdict == "fits"
    assert "--max-num-seqs" in carried.plan.engine.args
    setup = made.given["setup"]
    assert (setup.input_tokens, setup.output_tokens, setup.warmup_s) == (128, 64, 2.0)
    assert made.given["folder"].parent.name == "studies"


def test_resumed_where_it_was_without_a_word_of_what_it_is_about(tune, bench, place):
    whole = json.loads(tune(*SLO, "--study", "whole", "-o", "json")[1])
    bench.faults_of_next = {9: KeyboardInterrupt()}
    code, out, err = tune(*SLO, "-o", "json")
    assert code == 130
    broken = json.loads(out)
    assert broken["verdict"] == "interrupted"
    assert broken["winner"]["settings"] == {"max_num_seqs": 8}
    assert f"deployctl tune --resume --study {broken['study']}" in err
    assert (place / broken["recommendation"]).exists()
    bench.faults_of_next = {}
    code, out, err = tune("--resume", "-o", "json", model=False)
    assert code == 0, err
    answer = json.loads(out)
    assert answer["study"] == broken["study"]
    for key in ("verdict", "winner", "baseline", "improvement", "trials"):
        assert answer[key] == whole[key]
    assert answer["server_minutes"] > whole["server_minutes"]  # an engine was started once more
    assert len([c for c in bench.made[-1].calls if c != "stop"]) == 12 - 8 + 1


def test_resuming_what_has_ended_repeats_nothing(tune, bench):
    first = json.loads(tune(*SLO, "-o", "json")[1])
    code, out, err = tune("--resume", "-o", "json", model=False)
    assert code == 0
    assert json.loads(out) == first
    assert len(bench.made) == 1
    assert "has ended" in err
    code, out, _ = tune("--resume", model=False)
    assert "winner: it served more" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--objective", "throughput"], "--objective: goodput, now throughput"),
        (["--slo", "ttft_p95=1s"], "--slo: ttft_p95=500ms, now ttft_p95=1s"),
        (["--budget", "10m"], "--budget: 1800.0, now 600.0"),
        (["--max-trials", "3"], "--max-trials: None, now 3"),
        (["--load", "rate=4"], "--load: rate=1, now rate=4"),
        (["--seed", "8"], "--seed: 7, now 8"),
        (["--workload", "chat"], "--workload: fixed, now chat"),
        (["--output-tokens", "32"], "--output-tokens: None, now 32"),
    ],
)
def test_a_study_of_something_else_is_not_gone_on_with_unless_asked(tune, bench, words, told):
    bench.faults_of_next = {6: KeyboardInterrupt()}
    tune(*SLO, "--seed", 7)
    bench.faults_of_next = {}
    code, _, err = tune("--resume", *words, model=False)
    assert code == 2
    assert told in err
    assert "--allow-other-setup" in err
    code, _, err = tune("--resume", "--allow-other-setup", *words, model=False)
    assert code == 0
    assert f"warning: {told}" in err


def test_the_same_words_again_are_the_same_study(tune, bench, place):
    words = [*SLO, "--max-model-len", 256, "--max-num-seqs", 64]
    bench.faults_of_next = {6: KeyboardInterrupt()}
    tune(*words)
    bench.faults_of_next = {}
    assert tune("--resume", *words)[0] == 0
    code, _, err = tune("--resume", *SLO, "--max-model-len", 512)
    assert code == 2
    assert "spec: max_model_len 256, now 512" in err
    assert "max_num_seqs 64, now None" in err


def test_other_hardware_or_another_engine_is_not_gone_on_with_unless_asked(tune, bench, place):
    bench.faults_of_next = {6: KeyboardInterrupt()}
    tune(*SLO, "--study", "s")
    bench.faults_of_next = {}
    file = place / "s" / studies.FILE
    first, rest = file.read_text().split("\n", 1)
    header = json.loads(first)
    header["fingerprint"]["hardware"]["processor"] = "Another CPU, 96 threads"
    header["fingerprint"]["engine_version"] = "0.31.0"
    file.write_text(json.dumps(header) + "\n" + rest)
    code, _, err = tune("--resume", "--study", "s", model=False)
    assert code == 2
    assert "hardware: cpu (Another CPU, 96 threads), now cpu (" in err
    assert "vLLM: 0.31.0, now 0.32.0" in err
    code, _, err = tune("--resume", "--study", "s", "--allow-other-setup", model=False)
    assert code == 0
    assert "warning: vLLM: 0.31.0, now 0.32.0" in err


def test_an_engine_that_dies_is_counted_and_told(tune, bench):
    bench.faults_of_next = {8: Failure("died_under_load", "killed by signal 9", 6.0)}
    code, out, err = tune(*SLO, "-o", "json")
    assert code == 0
    assert json.loads(out)["trials"] == {"run": 4, "failed": 1, "skipped": 0}
    assert "does not do (died under load): killed by signal 9" in err


def test_no_engine_that_comes_up_is_a_failure_of_the_target(tune, bench):
    silent = Failure("never_healthy", "no answer within 300 s", 300.0)
    bench.faults_of_next = dict.fromkeys(range(1, 20), silent)
    code, out, err = tune(*SLO, "-o", "json")
    assert code == 4
    answer = json.loads(out)
    assert answer["verdict"] == "nothing_feasible"
    assert answer["winner"] is None
    assert answer["trials"]["failed"] == 4
    assert "no configuration could be measured" in err


def test_what_ends_the_run_leaves_a_study_to_go_on_with(tune, bench):
    bench.faults_of_next = {5: TargetError("No space left on device")}
    code, out, err = tune(*SLO)
    assert code == 4
    assert out == ""
    assert "No space left" in err
    bench.faults_of_next = {}
    assert tune("--resume", model=False)[0] == 0


def test_a_dry_run_starts_nothing_and_says_what_it_would(tune, place):
    code, out, err = tune(*SLO, "--dry-run", "-o", "json")
    assert code == 0, err
    plan = json.loads(out)
    assert plan["dry_run"] is True
    assert plan["trials"][0]["settings"] == {}
    assert plan["trials"][0]["why"]
    assert all(trial["why"] and trial["loads"] for trial in plan["trials"])
    assert plan["space"]["max_num_seqs"]["current"] == 128
    assert plan["server_minutes"] <= plan["budget_minutes"]
    code, out, _ = tune(*SLO, "--dry-run")
    assert "trial 1: baseline" in out
    assert not (place / "studies").exists()
    assert not (place / "state").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--objective", "goodput"], "goodput counts requests that meet an SLO"),
        (["--objective", "cost"], "--slo ttft_p95"),
        (["--objective", "cost", *SLO], "has no price"),
        ([*SLO, "--budget", "5s"], "too short for a single trial"),
        ([*SLO, "--budget", "soon"], "not a duration"),
        ([*SLO, "--load", "users=1.5"], "write users=8"),
        ([*SLO, "--load", "8"], "write users=8"),
        ([*SLO, "--max-trials", "0"], "max-trials"),
        ([*SLO, "--workload", "nonesuch"], "no workload 'nonesuch'"),
        ([*SLO, "--space", "nonesuch.yaml"], "cannot read the file"),
        ([*SLO, "--allow-other-setup"], "goes with --resume"),
        (["--resume", "--dry-run"], "does not go with --resume"),
        (["--resume", "--study", "nonesuch"], "there is no study"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_starts(tune, bench, words, told):
    code, out, err = tune(*words)
    assert code == 2
    assert told in err
    assert out == ""
    assert bench.made == []


def test_a_service_that_cannot_run_is_refused_by_the_plan(tune, bench):
    code, _, err = tune(*SLO, "--max-model-len", 10**6)
    assert code == 3
    assert "the service cannot run as it is" in err


def test_two_services_are_refused(tune, bench, place):
    (place / "fleet.yaml").write_text(
        "model: ./tiny\ngpu: cpu\n---\nmodel: ./tiny\nname: b\ngpu: cpu\nport: 8001\n"
    )
    code, _, err = tune("-f", "fleet.yaml", *SLO, model=False)
    assert code == 2
    assert "one service, and 2 are given" in err


def test_nothing_to_tune(tune, bench):
    code, _, err = tune(*SLO, model=False)
    assert code == 2
    assert "--resume" in err


def test_a_folder_that_holds_a_study_is_not_written_over(tune, bench):
    assert tune(*SLO, "--study", "s")[0] == 0
    code, _, err = tune(*SLO, "--study", "s")
    assert code == 2
    assert "--resume goes on with it" in err


def test_two_tunes_on_one_study(tune, bench, place):
    with studies.held(place / "s"):
        code, _, err = tune(*SLO, "--study", "s")
    assert code == 4
    assert "deployctl tune (pid" in err


def test_a_space_of_ones_own(tune, bench, place):
    (place / "space.yaml").write_text("max_num_seqs: [8, 16]\nenable_prefix_caching: [false]\n")
    code, out, _ = tune(*SLO, "--space", "space.yaml", "--dry-run", "-o", "json")
    assert code == 0
    assert json.loads(out)["space"] == {
        "max_num_seqs": {"values": [8, 16], "current": 128},
        "enable_prefix_caching": {"values": [False], "current": None},
    }
