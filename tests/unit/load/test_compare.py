import copy
import json
import random

import pytest

from deployctl.errors import InputError, NotFoundError
from deployctl.load import compare, folder, results
from deployctl.load.estimates import Run
from deployctl.load.summary import summarize
from deployctl.reports import comparison as words
from deployctl_loadtest.result import Setup
from deployctl_loadtest.sample import Sample, WorkerReport

SETUP = Setup(None, "http://h:1", "m", "chat", 4, 60, 0, 10, 5, True, 1, 60)


def run(seed=0, *, slower=1.0, fail=0, per_chunk=1, cpu=0.2, count=600, name="x"):
    """A run of 60 s; `slower` stretches every latency."""
    rng = random.Random(seed)
    samples = []
    for i in range(count):
        ttft = 0.1 * slower * rng.lognormvariate(0, 0.2)
        gaps = [0.02 * slower * rng.lognormvariate(0, 0.1) for _ in range(4)]
        samples.append(
            Sample(
                worker="w", started_at_s=i * 59 / count, outcome="ok", ttft_s=ttft,
                chunk_gaps_s=gaps, e2e_s=ttft + sum(gaps), duration_s=ttft + sum(gaps),
                input_tokens=10, output_tokens=5 * per_chunk, tokens_per_chunk=per_chunk,
            )
        )  # fmt: skip
    samples += [Sample("w", 1.0 + i, "refused", duration_s=0.1, error="no") for i in range(fail)]
    report = WorkerReport("w", 1.8e9, 60.0, 0, [(5.0, cpu)], [(5.0, 0.001)])
    result = summarize(
        SETUP, samples, [report], lost=0, started="2026-11-24T00:00:00+00:00", tools={},
        interrupted=False, server=None,
    )  # fmt: skip
    return Run(name, json.loads(json.dumps(result.to_dict())), samples)


def verdicts(answer):
    return {measure.name: measure.verdict for measure in answer.measures}


def test_two_runs_of_the_same_are_no_different():
    false_alarms = 0
    for seed in range(12):
        answer = compare.compare(run(seed), run(100 + seed), 0.0)
        false_alarms += len(answer.regressions)
        assert len(answer.measures) == 15
    # 180 measures at 99%: one in 200 is called worse by chance, and they hang together.
    assert false_alarms <= 4


def test_a_regression_is_found_and_said():
    answer = compare.compare(run(1), run(2, slower=1.15), 0.05)
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
    answer = compare.compare(run(1), run(2, slower=1.15), 0.5)
    assert answer.passed
    assert verdicts(answer)["ttft_p50"] == "worse"
    assert "Worse, within 50%" in words.conclusion(answer)


def test_an_improvement():
    answer = compare.compare(run(1, slower=1.3), run(2), 0.05)
    assert answer.passed
    assert verdicts(answer)["e2e_p50"] == "better"
    assert words.conclusion(answer).startswith("Better: ttft_p50")


def test_failures_are_a_regression():
    answer = compare.compare(run(1), run(2, fail=40), 0.05)
    error = answer.measures[-1]
    assert (error.name, error.a, error.verdict) == ("error_rate", 0, "worse")
    assert error.change == pytest.approx(40 / 640, abs=1e-4)
    assert error.regression


def test_few_requests_show_little():
    answer = compare.compare(run(1, count=25), run(2, count=25, slower=1.1), 0.05)
    told = {measure.name: measure for measure in answer.measures}
    assert (told["ttft_p99"].verdict, told["ttft_p99"].high) == ("no clear difference", None)
    assert words.rows(answer)[2].interval == "not bounded"


def test_a_spoilt_run_passes_nothing():
    answer = compare.compare(run(1), run(2, cpu=0.99), 0.05)
    assert not answer.passed
    assert answer.regressions == []
    assert answer.spoilt[0].startswith("B: The client was the bottleneck")
    empty = run(3, count=0, fail=3)
    assert not compare.compare(run(1), empty, 0.05).passed


def test_gaps_between_other_chunks_are_not_compared():
    answer = compare.compare(run(1), run(2, per_chunk=4, slower=4), 9.0)
    assert not [name for name in verdicts(answer) if name.startswith("itl")]
    assert any("4.00" in note for note in answer.notes)


def test_goodput_is_compared_against_one_slo():
    a, b = run(1), run(2, slower=1.6)
    for each in (a, b):
        each.summary["slo"] = {"text": "ttft_p95=150ms"}
    told = {m.name: m for m in compare.compare(a, b, 0.05).measures}
    assert told["goodput_per_s"].regression
    b.summary["slo"]["text"] = "ttft_p95=1s"
    assert "goodput_per_s" not in verdicts(compare.compare(a, b, 0.05))


def test_apples_and_pears():
    a, b = run(1), run(2)
    assert compare.differences(a, b) == []
    other = Run("y", copy.deepcopy(b.summary), b.samples)
    other.summary["setup"].update(users=8, model="other", seed=9, duration_s=30)
    assert compare.differences(a, other) == ["users: 4 and 8"]
    del other.summary["setup"]["workload"]  # written before there were workloads
    assert compare.differences(a, other) == ["users: 4 and 8"]
    other.summary["setup"]["input_tokens"] = 99
    assert len(compare.differences(a, other)) == 2
    assert "model differs: m and other" in compare.compare(a, other, 0.05).notes


def test_markdown_is_safe_and_whole():
    a, b = run(1, name="<b>|`x"), run(2, slower=1.2)
    text = words.markdown(compare.compare(a, b, 0.05))
    assert "<b>" not in text.replace("\\<", "").replace("\\>", "")
    assert text.count("\n| ") == 16
    assert "**worse**" in text


def test_a_result_is_read_back(tmp_path):
    made = run(1, count=30)
    (tmp_path / folder.SUMMARY).write_text(json.dumps(made.summary))
    lines = [json.dumps(sample.to_dict()) for sample in made.samples]
    (tmp_path / folder.REQUESTS).write_text("\n".join(lines))
    again = results.read(tmp_path / folder.SUMMARY)
    assert again.summary == made.summary
    assert len(again.samples) == 30
    assert compare.compare(made, again, 0.0).passed


def test_a_series_is_no_single_result(tmp_path):
    (tmp_path / "series.json").write_text("{}")
    (tmp_path / "users-2").mkdir()
    (tmp_path / "users-2" / folder.SUMMARY).write_text("{}")
    with pytest.raises(InputError, match="several runs") as caught:
        results.read(tmp_path)
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
        results.read(tmp_path)
    with pytest.raises(NotFoundError, match="no such folder"):
        results.read(tmp_path / "absent")
