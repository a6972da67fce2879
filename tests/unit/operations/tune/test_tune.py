"""`deployctl tune` with a bench and a search of known behaviour: flags, answers, exit codes."""

import json
from types import SimpleNamespace

import pytest
import yaml

from deployctl.errors import TargetError
from deployctl.operations.tune import inputs
from deployctl.operations.tune.request import TuneRequest
from deployctl.operations.tune.run import begin
from deployctl.render import render_process
from deployctl.spec import ServiceSpec
from deployctl.targets.driver import EngineState, Room
from deployctl.targets.history import Release
from deployctl.targets.process import ProcessDriver
from deployctl.targets.shelf import FileShelf
from deployctl.targets.store import ServiceRef, Store
from deployctl.tuning import study as studies
from deployctl.tuning.trial import Configuration, Failure

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


def test_a_program_gets_the_outcome_and_the_events_and_nothing_is_printed(bench, place, capsys):
    told = []
    spec = ServiceSpec(model="./tiny", gpu="cpu")
    outcome = begin(spec, TuneRequest(slo="ttft_p95=500ms", seed=7), tell=told.append)
    outcome.enforce()
    assert outcome.document["verdict"] == "winner"
    assert outcome.view.winner.name == "max_num_seqs=32"
    assert {event.kind for event in told} == {"heading", "note", "progress"}
    assert any(event.text.startswith("trial 3 of about") for event in told)
    assert capsys.readouterr() == ("", "")


def test_the_bench_gets_the_service_as_it_is(tune, bench, place):
    tune(*SLO, "--max-model-len", 256, "--max-num-seqs", 64, "--budget", "4m")
    made = bench.made[0]
    spec = made.plans.base
    assert spec.startup_timeout == 240  # no longer than all of it may take
    assert spec.model == str(place / "tiny")
    assert (spec.max_num_seqs, spec.max_model_len, spec.replicas) == (64, 256, 1)
    assert made.given["slo"].text == "ttft_p95=500ms"
    tried, plan = made.plans.candidate(Configuration.of({"max_num_seqs": 32}), port=27100)
    assert (tried.service, tried.port, tried.max_num_seqs) == ("tiny-tune", 27100, 32)
    assert plan.verdict == "fits"
    assert "--max-num-seqs" in plan.engine.args
    setup = made.given["setup"]
    assert (setup.input_tokens, setup.output_tokens, setup.warmup_s) == (128, 64, 2.0)
    assert made.given["folder"].parent.name == "studies"


def test_a_context_that_the_plan_chose_is_the_same_for_all_and_recommended(tune, bench, place):
    config = place / "tiny" / "config.json"
    config.write_text(
        json.dumps({**json.loads(config.read_text()), "max_position_embeddings": 1 << 20})
    )
    code, _, err = tune(*SLO, "--study", "s", "--kv-cache-gib", 0.01)
    assert code == 0, err
    base = bench.made[0].plans.base
    assert 4096 <= base.max_model_len < 1 << 20
    assert f"all configurations have the {base.max_model_len:,} tokens" in err
    recommended = yaml.safe_load((place / "s" / "recommendation.yaml").read_text())
    assert recommended["settings"] == {"max_model_len": base.max_model_len, "max_num_seqs": 32}
    # A study goes on with the context that it began with, whatever would be chosen now.
    assert studies.opened(place / "s").header.spec.max_model_len == base.max_model_len


def test_an_engine_that_dies_is_counted_and_told(tune, bench):
    bench.faults_of_next = {8: Failure("died_under_load", "killed by signal 9", 6.0)}
    code, out, err = tune(*SLO, "-o", "json")
    assert code == 0
    assert json.loads(out)["trials"] == {"run": 4, "failed": 1, "skipped": 0}
    assert "failed (died under load): killed by signal 9" in err


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
        ([*SLO, "--budget", "5s"], "too short for one trial"),
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


@pytest.mark.parametrize("free", [True, False])
def test_on_a_cluster_a_service_that_runs_needs_cards_for_two(
    tmp_path, monkeypatch, make_release, free
):
    spec = ServiceSpec(model="m", name="tiny", target="kubernetes")
    store = Store(tmp_path, {"kubernetes": lambda: FileShelf(tmp_path)})
    ref = ServiceRef("kubernetes", "tiny")
    store.save(ref, make_release().model_copy(update={"status": "deployed"}))
    driver = SimpleNamespace(state=lambda release: EngineState("running"))
    view = SimpleNamespace(room=lambda plan, bundle: Room(free, "n1 has no card"))
    monkeypatch.setattr(inputs, "open_store", lambda spec: (None, store))
    monkeypatch.setattr(inputs, "open_driver", lambda target, settings: driver)
    monkeypatch.setattr(inputs, "open_view", lambda target, settings: view)
    told = []
    if free:
        inputs.check_not_running(spec, told.append)
        assert "goes on serving" in told[0].text
        return
    with pytest.raises(TargetError, match="n1 has no card"):
        inputs.check_not_running(spec, told.append)


def test_a_service_that_is_running_is_left_alone(tune, bench, place, make_plan, monkeypatch):
    spec = ServiceSpec(model=str(place / "tiny"), gpu="cpu", target="process")
    plan = make_plan(spec)
    running = Release(
        service="tiny", revision=1, status="deployed", created="2026-11-24T07:00:00+00:00",
        reason="up", spec=spec, plan=plan, bundle=render_process(plan, spec),
    )  # fmt: skip
    Store(place / "state").save(ServiceRef("process", "tiny"), running)
    states = iter([EngineState("running"), EngineState("running"), EngineState("dead")])
    monkeypatch.setattr(ProcessDriver, "state", lambda self, release: next(states))
    code, _, err = tune(*SLO)
    assert code == 4
    assert "deployctl down tiny" in err
    assert not (place / "studies").exists()
    code, _, err = tune(*SLO, "--name", "other")
    assert code == 0
    assert "warning: tiny is also running here" in err
    assert tune(*SLO)[0] == 0
