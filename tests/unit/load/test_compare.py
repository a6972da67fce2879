import copy
import json
import random

import pytest

from deployctl.errors import InputError, NotFoundError
from deployctl.load import compare, estimates, folder, intervals
from deployctl.load.compare import Side
from deployctl.load.estimates import RunEstimate
from deployctl.load.folder import SavedRun
from deployctl.reports import comparison as words
from run_parts import run


def held(a, b, threshold=0.05):
    """Compares runs, one a side or lists of them."""
    sides = [
        Side(letter, letter.lower(), each if isinstance(each, list) else [each])
        for letter, each in (("A", a), ("B", b))
    ]
    return compare.compare(*sides, threshold)


def verdicts(answer):
    return {measure.name: measure.verdict for measure in answer.measures}


def test_two_runs_of_the_same_are_no_different():
    false_alarms = 0
    for seed in range(12):
        answer = held(run(seed), run(100 + seed), 0.0)
        false_alarms += len(answer.regressions)
        assert len(answer.measures) == 15
    # 180 measures at 99%: one in 200 is called worse by chance, and they hang together.
    assert false_alarms <= 4


def test_a_regression_is_found_and_said():
    answer = held(run(1), run(2, slower=1.15), 0.05)
    told = {measure.name: measure for measure in answer.measures}
    p50 = told["ttft_p50"]
    assert (p50.verdict, p50.regression) == ("worse", True)
    assert p50.change == pytest.approx(0.15, abs=0.04)
    assert 0 < p50.low < p50.change < p50.high < 0.3
    assert told["itl_p50"].regression
    assert told["requests_per_s"].verdict == "no clear difference"
    assert not answer.passed
    assert "ttft_p50" in answer.regressions
    assert "Worse by more than 5%: ttft_p50" in words.conclusion(answer)


def test_worse_within_the_threshold_passes():
    answer = held(run(1), run(2, slower=1.15), 0.5)
    assert answer.passed
    assert verdicts(answer)["ttft_p50"] == "worse"
    assert "Worse, within 50%" in words.conclusion(answer)


def test_an_improvement():
    answer = held(run(1, slower=1.3), run(2), 0.05)
    assert answer.passed
    assert verdicts(answer)["e2e_p50"] == "better"
    assert words.conclusion(answer).startswith("Better: ttft_p50")


def test_failures_are_a_regression():
    answer = held(run(1), run(2, fail=40), 0.05)
    error = answer.measures[-1]
    assert (error.name, error.a, error.verdict) == ("error_rate", 0, "worse")
    assert error.change == pytest.approx(40 / 640, abs=1e-4)
    assert error.regression


def test_few_requests_show_little():
    answer = held(run(1, count=25), run(2, count=25, slower=1.1), 0.05)
    told = {measure.name: measure for measure in answer.measures}
    assert (told["ttft_p99"].verdict, told["ttft_p99"].high) == ("no clear difference", None)
    assert words.rows(answer)[2].interval == "not bounded"


def test_a_spoilt_run_passes_nothing():
    answer = held(run(1), run(2, cpu=0.99), 0.05)
    assert not answer.passed
    assert answer.regressions == []
    assert answer.spoilt[0].startswith("B: The client was the bottleneck")
    empty = run(3, count=0, fail=3)
    assert not held(run(1), empty, 0.05).passed


def test_gaps_between_other_chunks_are_not_compared():
    answer = held(run(1), run(2, per_chunk=4, slower=4), 9.0)
    assert not [name for name in verdicts(answer) if name.startswith("itl")]
    assert any("4.00" in note for note in answer.notes)


def test_goodput_is_compared_against_one_slo():
    a, b = run(1), run(2, slower=1.6)
    for each in (a, b):
        each.summary["slo"] = {"text": "ttft_p95=150ms"}
    told = {m.name: m for m in held(a, b, 0.05).measures}
    assert told["goodput_per_s"].regression
    b.summary["slo"]["text"] = "ttft_p95=1s"
    assert "goodput_per_s" not in verdicts(held(a, b, 0.05))


def test_apples_and_pears():
    a, b = run(1), run(2)
    assert held(a, b).differences == []
    other = SavedRun("y", copy.deepcopy(b.summary), b.samples)
    other.summary["setup"].update(users=8, model="other", seed=9, duration_s=30)
    assert held(a, other).differences == ["users: 4 and 8"]
    del other.summary["setup"]["workload"]  # written before there were workloads
    assert held(a, other).differences == ["users: 4 and 8"]
    other.summary["setup"]["input_tokens"] = 99
    assert len(held(a, other).differences) == 2
    assert "model differs: m and other" in held(a, other, 0.05).notes


def test_markdown_is_safe_and_whole():
    a, b = run(1, name="<b>|`x"), run(2, slower=1.2)
    text = words.markdown(held(a, b, 0.05))
    assert "<b>" not in text.replace("\\<", "").replace("\\>", "")
    assert text.count("\n| ") == 16
    assert "**worse**" in text


def test_a_result_is_read_back(tmp_path):
    made = run(1, count=30)
    (tmp_path / folder.SUMMARY).write_text(json.dumps(made.summary))
    lines = [json.dumps(sample.to_dict()) for sample in made.samples]
    (tmp_path / folder.REQUESTS).write_text("\n".join(lines))
    again = folder.read(tmp_path / folder.SUMMARY)
    assert again.summary == made.summary
    assert len(again.samples) == 30
    assert [r.folder for r in folder.runs(str(tmp_path))] == [str(tmp_path)]
    assert held(made, again, 0.0).passed


def test_a_series_is_no_single_result(tmp_path):
    (tmp_path / "series.json").write_text("{}")
    (tmp_path / "users-2").mkdir()
    (tmp_path / "users-2" / folder.SUMMARY).write_text("{}")
    with pytest.raises(InputError, match="several runs") as caught:
        folder.read(tmp_path)
    assert caught.value.hint == "give one of them: users-2"


@pytest.mark.parametrize(
    ("summary", "requests", "error"),
    [
        (None, "", NotFoundError),
        ("{", "", InputError),
        ("[]", "", InputError),
        ('{"version": 2}', "", InputError),
        ('{"version": 1}', "", InputError),
        ('{"version": 1, "setup": {}, "window_s": [0, 1]}', None, NotFoundError),
        ('{"version": 1, "setup": {}, "window_s": [0, 1]}', "x\n", InputError),
        ('{"version": 1, "setup": {}, "window_s": [0, 1]}', "[1]\n", InputError),
        ('{"version": 1, "setup": {}, "window_s": [0, 1]}', '{"index": 1}\n', InputError),
    ],
)
def test_what_is_no_result_is_refused(tmp_path, summary, requests, error):
    if summary is not None:
        (tmp_path / folder.SUMMARY).write_text(summary)
    if requests is not None:
        (tmp_path / folder.REQUESTS).write_text(requests)
    with pytest.raises(error):
        folder.read(tmp_path)
    with pytest.raises(NotFoundError, match="no such folder"):
        folder.read(tmp_path / "absent")


def noisy(seed, **more):
    """A run whose machine had a day of its own: all of its latencies are off by about 4%."""
    return run(seed, slower=more.pop("slower", 1.0) * random.Random(seed).gauss(1, 0.04), **more)


def test_runs_that_differ_from_each_other_are_no_regression():
    # One run against one takes the machine's day for the change; several know better.
    lone = several = 0
    for seed in range(0, 60, 6):
        old, new = [noisy(seed + i) for i in range(3)], [noisy(500 + seed + i) for i in range(3)]
        lone += "ttft_p50" in held(old[0], new[0], 0.0).regressions
        answer = held(old, new, 0.0)
        several += "ttft_p50" in answer.regressions
        assert 0.005 < next(m for m in answer.measures if m.name == "ttft_p50").between_runs < 0.12
    assert lone >= 2
    assert several == 0


def test_several_runs_find_what_changed_and_say_how_much_runs_differ():
    old, new = [noisy(i) for i in range(4)], [noisy(100 + i, slower=1.3) for i in range(4)]
    answer = held(old, new)
    p50 = next(m for m in answer.measures if m.name == "ttft_p50")
    assert p50.regression
    assert p50.low < 0.3 < p50.high
    assert (len(p50.a_runs), len(p50.b_runs), p50.a_samples) == (4, 4, 2400)
    assert not [note for note in answer.notes if "one run a side" in note]
    assert words.columns(answer)[-2] == "±runs"
    assert "±" in words.rows(answer)[0].between
    assert "4 runs from" in words.markdown(answer)
    assert [one["folder"] for one in answer.a["runs"]] == ["x"] * 4


def test_one_run_a_side_says_what_its_intervals_leave_out():
    answer = held(run(1), run(2))
    assert any(note.startswith("one run a side") for note in answer.notes)
    assert answer.measures[0].between_runs is None
    assert "±runs" not in words.columns(answer)
    # One against several borrows from these how much runs differ.
    assert held(run(1), [run(2), run(3)]).measures[0].between_runs is not None


def test_runs_that_agree_by_chance_make_no_interval_narrower_than_their_requests():
    alike = [RunEstimate(0.1, intervals.Interval(0.09, 0.12), 100)] * 3
    found = estimates.ratio(alike, alike)
    alone = estimates.ratio(alike[:1], alike[:1])
    assert found.between == pytest.approx(0, abs=1e-9)
    assert alone.low < found.low < 0 < found.high < alone.high
    # A percentile that no single run bounds is bounded by several.
    loose = [RunEstimate(v, intervals.Interval(0.05, float("inf")), 9) for v in (0.1, 0.11, 0.12)]
    assert estimates.ratio(loose[:1], loose[:1]).high == float("inf")
    assert estimates.ratio(loose, loose).high < 2


def test_goodput_that_falls_to_nothing_is_worse():
    some = [RunEstimate(5.0, intervals.Interval(4.5, 5.5), 60)]
    none = [RunEstimate(0.0, intervals.Interval(0.0, 0.0), 60)]
    assert estimates.ratio(some, none)[2:5] == (-1.0, -1.0, -1.0)
    assert estimates.ratio(none, some) is None


def test_a_spoilt_run_among_several_is_named():
    answer = held([run(1), run(2)], [run(3), run(4, cpu=0.99)])
    assert not answer.passed
    assert answer.spoilt[0].startswith("B2: The client was the bottleneck")
    odd = run(5)
    odd.summary["setup"]["users"] = 8
    assert held([run(1), odd], [run(3)]).differences == ["users: 4 (A1) and 8 (A2)"]


def test_a_side_is_a_folder_a_list_or_a_folder_of_runs(tmp_path):
    for name in ("runs/b", "runs/a", "alone", "with,comma"):
        made = run(1, count=30)
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / folder.SUMMARY).write_text(json.dumps(made.summary))
        lines = [json.dumps(sample.to_dict()) for sample in made.samples]
        (tmp_path / name / folder.REQUESTS).write_text("\n".join(lines))

    def names(given):
        return [one.folder.removeprefix(f"{tmp_path}/") for one in folder.runs(given)]

    assert names(f"{tmp_path}/runs") == ["runs/a", "runs/b"]
    assert names(f"{tmp_path}/alone, {tmp_path}/runs") == ["alone", "runs/a", "runs/b"]
    assert names(f"{tmp_path}/with,comma") == ["with,comma"]
    with pytest.raises(InputError, match="given twice"):
        folder.runs(f"{tmp_path}/runs,{tmp_path}/runs/a")
    with pytest.raises(NotFoundError, match="no such folder"):
        folder.runs(f"{tmp_path}/alone,{tmp_path}/absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError, match="no such file"):
        folder.runs(f"{tmp_path}/empty")
