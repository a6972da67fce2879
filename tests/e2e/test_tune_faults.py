"""`deployctl tune` against engines that do not come up, and against signals."""

import json
import signal

import pytest

from process_shell import PATIENCE_S, until

SLO = ["--slo", "ttft_p95=500ms"]


@pytest.fixture
def tune(shell, tmp_path):
    """`tune(*words, silent=1)`: the words of a tune whose engine is a fake one."""

    def words(*more, **fake):
        env = [f"--env=FAKE_ENGINE_{name.upper()}={value}" for name, value in fake.items()]
        own = ["--model", shell.model, "--gpu", "cpu", *env, *SLO, "--study", tmp_path / "s"]
        return ["tune", *own, *more, "-o", "json"]

    words.study = tmp_path / "s"
    words.resume = ["tune", "--resume", "--study", words.study, "-o", "json"]
    return words


def events(tune):
    lines = (tune.study / "study.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_an_engine_that_refuses_is_told_in_its_own_words(shell, tune):
    code, out, err = shell.run(*tune(die_loading=1))
    assert code == 4, err
    answer = json.loads(out)
    assert answer["verdict"] == "nothing_feasible"
    assert answer["winner"] is None
    assert answer["trials"]["failed"] == answer["trials"]["run"] >= 1
    failures = [event["failure"] for event in events(tune) if event["event"] == "failure"]
    assert {failure["kind"] for failure in failures} == {"out_of_memory"}
    assert all("No available memory for the cache blocks" in f["reason"] for f in failures)
    assert shell.left() == []


def test_an_engine_that_never_answers_is_given_up(shell, tune):
    code, out, err = shell.run(*tune("--startup-timeout", 1, "--max-trials", 1, silent=1))
    assert code == 4, err
    failures = [event["failure"] for event in events(tune) if event["event"] == "failure"]
    assert [failure["kind"] for failure in failures] == ["never_healthy"]
    assert json.loads(out)["trials"]["run"] == 1
    assert shell.left() == []


def test_what_a_killed_tune_left_running_is_ended_and_ctrl_c_answers(shell, tune):
    first = shell.start(*tune(silent=1))
    orphans = until(lambda: list(shell.state.rglob("engine.json")) and shell.left())
    first.kill()
    first.communicate(timeout=PATIENCE_S)
    assert shell.left()
    second = shell.start(*tune.resume)
    until(lambda: (left := shell.left()) and not set(left) & set(orphans) and left)
    second.send_signal(signal.SIGINT)
    out, err = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 130, err
    answer = json.loads(out)
    assert answer["verdict"] == "interrupted"
    assert answer["trials"]["run"] == 0  # no start came to an end
    assert "--resume" in err
    assert "Traceback" not in err
    assert shell.left() == []
    assert events(tune)[-1]["event"] == "interrupted"


def test_two_tunes_of_one_service_do_not_end_each_others_engines(shell, tune, tmp_path):
    first = shell.start(*tune(silent=1))
    until(lambda: list(shell.state.rglob("engine.json")) and shell.left())
    words = tune(silent=1)
    words[words.index(tune.study)] = tmp_path / "other"
    code, _, err = shell.run(*words)
    assert code == 4
    assert "deployctl tune (pid" in err
    assert first.poll() is None
    first.send_signal(signal.SIGTERM)
    out, _ = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 130
    assert json.loads(out)["verdict"] == "interrupted"
