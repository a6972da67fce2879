"""The recommendation's file: written whole, read with care, and what it says of an answer."""

import pytest

from deployctl.errors import InputError, StateError
from deployctl.tuning.recommendation import (
    FILE,
    Hardware,
    Measured,
    Recommendation,
    load,
)
from deployctl.tuning.trial import Answer, Configuration, Load, Standing

MEASURED = Measured(
    objective="goodput",
    slo="ttft_p95=500ms",
    model="org/model",
    engine_version="0.32.0",
    target="docker",
    hardware=Hardware(gpu="l4", gpus=2, memory_gib=22.0),
    args=("--max-num-seqs", "64"),
    workload="chat",
    seed=7,
    study="study-1",
    date="2026-11-24T09:00:00+00:00",
)
BASELINE = Standing(Configuration(), 2.0, 1.9, 2.1, True, Load("rate", 2))
WINNER = Standing(
    Configuration.of({"max_num_seqs": 64, "enable_prefix_caching": False}),
    3.0, 2.8, 3.2, True, Load("rate", 3),
)  # fmt: skip


def answer(verdict="winner", winner=WINNER):
    ratio = (1.5, 1.3, 1.7) if winner else None
    return Answer(verdict, "each of three pairs was better", BASELINE, winner, ratio, notes=("n",))


def test_what_is_written_is_read(tmp_path):
    made = Recommendation.from_answer(answer(), MEASURED)
    made.write(tmp_path / "sub" / FILE)
    assert load(tmp_path / "sub" / FILE) == made
    assert load(tmp_path / "sub") == made  # its folder will do
    assert made.settings == {"max_num_seqs": 64, "enable_prefix_caching": False}
    assert made.winner.interval == (2.8, 3.2)
    assert made.improvement.ratio == 1.5
    text = (tmp_path / "sub" / FILE).read_text()
    assert text.startswith("# What deployctl tune found: winner.\n")
    assert "--tuned recommendation.yaml" in text
    assert [p.name for p in (tmp_path / "sub").iterdir()] == [FILE]


@pytest.mark.parametrize(
    "verdict", ["no_clear_winner", "baseline_best", "nothing_feasible", "interrupted"]
)
def test_only_a_winner_changes_anything(verdict):
    best = WINNER if verdict == "interrupted" else None
    made = Recommendation.from_answer(answer(verdict, best), MEASURED)
    assert made.settings == {}
    assert (made.winner is not None) == (verdict == "interrupted")
    assert "There is nothing to change" in made.to_yaml()


def test_a_why_of_several_lines_stays_a_comment(tmp_path):
    odd = Answer("baseline_best", "one\nmodel: evil\n# two", BASELINE, None, None)
    made = Recommendation.from_answer(odd, MEASURED)
    made.write(tmp_path / FILE)
    assert load(tmp_path / FILE).why == odd.why


def test_unknown_figures_have_no_interval():
    unknown = Standing(Configuration(), None, None, None, None, None)
    made = Recommendation.from_answer(
        Answer("nothing_feasible", "w", unknown, None, None), MEASURED
    )
    assert made.baseline.interval is None
    assert made.baseline.objective is None


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("version: 1", "version: 2", ": version", "version 2 is not known"),
        ("version: 1", "vorsion: 1", ": version", "it is not a recommendation"),
        ("seed: 7", "seed: many", ": measured/seed", "should be a valid integer"),
        ("seed: 7", "seed: 7\n  sead: 8", ": measured/sead", "there is no such key"),
        ("  workload: chat\n", "", ": measured/workload", "a value is required"),
        ("max_num_seqs: 64", "max_num_seqs: [64]", ": settings/max_num_seqs", ""),
        ("objective: goodput", "objective: fame", ": measured/objective", "'goodput'"),
        ("verdict: winner", "verdict: baseline_best", FILE, "there are settings, and the verdict"),
        ("objective: 3.0", "objective: .nan", ": winner/objective", "finite"),
        ("seed: 7", "seed: [", ":", "expected"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, old, new, where, message):
    text = Recommendation.from_answer(answer(), MEASURED).to_yaml()
    assert old in text
    file = tmp_path / FILE
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        load(file)
    assert message in caught.value.message
    assert str(file) in caught.value.where
    assert where in caught.value.where
    assert caught.value.hint


@pytest.mark.parametrize("content", ["", "- a\n", "version: 1\n---\nversion: 1\n", "\x00"])
def test_what_is_no_recommendation_at_all(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(InputError):
        load(tmp_path / FILE)
    with pytest.raises(InputError):
        load(tmp_path / "absent.yaml")


def test_a_folder_that_cannot_be_written_is_an_error_and_the_old_file_stays(tmp_path):
    made = Recommendation.from_answer(answer(), MEASURED)
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError) as caught:
        made.write(tmp_path / "file" / FILE)
    assert caught.value.hint
