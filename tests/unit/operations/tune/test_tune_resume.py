"""`deployctl tune --resume`: goes on where it was, and with nothing else."""

import json

import pytest

from deployctl.errors import NotFoundError
from deployctl.operations.tune.run import newest
from deployctl.tuning import study as studies

SLO = ["--slo", "ttft_p95=500ms"]


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


def test_the_newest_study_of_the_service_is_taken(tmp_path):
    for name in ("tiny-20261124T100000Z", "tiny-20261124T110000Z", "tiny-awq-20261124T120000Z"):
        (tmp_path / name).mkdir()
        (tmp_path / name / studies.FILE).write_text("")
    (tmp_path / "tiny-20261124T130000Z").mkdir()  # no study
    assert newest(tmp_path, "tiny").name == "tiny-20261124T110000Z"
    assert newest(tmp_path, None).name == "tiny-awq-20261124T120000Z"
    with pytest.raises(NotFoundError, match="for small"):
        newest(tmp_path, "small")
