"""Two clients in turn on one server: when do they agree?"""

import json

import pytest
from benchmarks.fidelity import agreement


def test_within_the_noise_they_agree():
    difference, noise, agree = agreement.compare([10.0, 11.0, 12.0], [10.5, 11.5, 12.5])
    assert (difference, agree) == (-0.5, True)
    assert noise == pytest.approx(2.78 * (2 / 3) ** 0.5)
    assert not agreement.compare([10.0, 10.1, 10.2], [12.0, 12.1, 12.2])[2]
    assert agreement.compare([3.0, 3.0], [3.0, 3.0])[2]
    assert not agreement.compare([3.0, 3.0], [4.0, 4.0])[2]


def test_the_role_chunk_is_taken_out_of_theirs(tmp_path):
    path = tmp_path / "vllm.json"
    said = {
        "ttfts": [0.1, 9.0], "itls": [[0.01, 0.02, 0.02], []], "errors": ["", "broken"],
        "total_output_tokens": 3,
    }  # fmt: skip
    path.write_text(json.dumps(said))
    reported = agreement.of_vllm(path, by_text=False)
    ours = agreement.of_vllm(path, by_text=True)
    assert reported["ttft_mean_ms"] == pytest.approx(100)
    assert ours["ttft_mean_ms"] == pytest.approx(110)
    assert reported["itl_mean_ms"] == pytest.approx(50 / 3)
    assert ours["itl_mean_ms"] == pytest.approx(20)


def test_ours_is_of_successes(tmp_path):
    row = {"outcome": "ok", "ttft_s": 0.1, "chunk_gaps_s": [0.02, 0.04], "output_tokens": 3}
    bad = {**row, "outcome": "truncated", "ttft_s": 5.0}
    (tmp_path / "requests.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(bad) + "\n")
    found = agreement.of_ours(tmp_path)
    assert (found["ttft_p50_ms"], found["itl_mean_ms"], found["tokens"]) == (100.0, 30.0, 3.0)


def test_the_table_shows_both_definitions():
    one = dict.fromkeys(agreement.MEASURES, 10.0)
    two = dict.fromkeys(agreement.MEASURES, 12.0)
    text = agreement.table({"ours": [one, one], "vllm": [two, two], "vllm_by_text": [one, one]})
    assert text.count("differ |") == len(agreement.MEASURES)
    assert text.count("agree |") == len(agreement.MEASURES)
