"""Each client's raw output, as its version writes it, brought to one form."""

import json

import pytest
from benchmarks.fidelity import readings

TEXT = "000007.0000.0013244.989968 000007.0001.0013245.009637 "


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_ours(tmp_path):
    row = {
        "response_id": "chatcmpl-000007", "started_at_s": 1.0, "lateness_s": None, "ttft_s": 0.3,
        "chunk_gaps_s": [0.02, 0.0], "output_tokens": 3, "outcome": "ok",
    }  # fmt: skip
    late = {**row, "lateness_s": 0.1}
    failed = {**row, "outcome": "truncated", "output_tokens": None}
    cut = {**row, "outcome": "incomplete"}
    lines(tmp_path / "requests.jsonl", row, late, failed, cut)
    account = readings.ours(tmp_path)
    assert (account.failed, account.tokens, len(account.readings)) == (1, 6, 2)
    first, second = account.readings
    assert (first.stream, first.started_s, first.ttft_s) == (7, 1.0, 0.3)
    assert first.gaps_s == (0.02, 0.0)
    assert second.ttft_s == pytest.approx(0.2)  # the server knows when it was sent, not when due


def test_vllm(tmp_path):
    path = tmp_path / "vllm.json"
    said = {
        "completed": 1, "failed": 1, "total_output_tokens": 3,
        "errors": ["", "Service Unavailable"], "generated_texts": [TEXT, ""],
        "start_times": [13244.68, 13244.69], "ttfts": [0.3, 0.0], "itls": [[0.02], []],
    }  # fmt: skip
    path.write_text(json.dumps(said))
    account = readings.vllm(path)
    assert (account.failed, account.tokens) == (1, 3)
    assert account.readings == (readings.Reading(7, 0.3, 13244.68, (0.02,)),)


def test_guidellm_gives_a_first_and_a_last_token_and_no_gaps(tmp_path):
    times = {
        "request_start": 100.0, "first_token_iteration": 100.3, "last_token_iteration": 100.36,
        "token_iterations": 4,
    }  # fmt: skip
    row = {"response_id": "chatcmpl-000007", "output_tokens": 4, "info": {"timings": times}}
    requests = {"successful": [row], "errored": [{}, {}], "incomplete": []}
    path = tmp_path / "guidellm.json"
    path.write_text(json.dumps({"benchmarks": [{"requests": requests}]}))
    account = readings.guidellm(path)
    assert (account.failed, account.tokens) == (2, 4)
    (reading,) = account.readings
    assert (reading.stream, reading.gaps_s) == (7, None)
    assert reading.ttft_s == pytest.approx(0.3)
    assert reading.mean_gap_s == pytest.approx(0.02)


def test_aiperf_names_its_requests_in_the_raw_records(tmp_path):
    about = {"x_request_id": "a", "request_start_ns": 5_000_000_000}
    metrics = {
        "time_to_first_token": {"value": 300.0, "unit": "ms"},
        "inter_chunk_latency": {"value": [20.0, 21.0], "unit": "ms"},
        "output_sequence_length": {"value": 3, "unit": "tokens"},
    }
    lines(
        tmp_path / "profile_export.jsonl",
        {"metadata": about, "metrics": metrics},
        {"metadata": {**about, "x_request_id": "b"}, "metrics": {}, "error": {"code": 503}},
    )
    packet = {"name": "data", "value": '{"id":"chatcmpl-000007","choices":[]}'}
    lines(
        tmp_path / "profile_export_raw.jsonl",
        {"metadata": about, "responses": [{"perf_ns": 1, "packets": [packet]}]},
        {"metadata": {"x_request_id": "b"}, "responses": []},
    )
    account = readings.aiperf(tmp_path)
    assert (account.failed, account.tokens) == (1, 3)
    assert account.readings == (readings.Reading(7, 0.3, 5.0, (0.02, 0.021)),)


def test_plain_locust(tmp_path):
    path = tmp_path / "plain.jsonl"
    row = {"started": 1.0, "stamps": [1.5, 1.75], "id": "chatcmpl-000007", "tokens": 2}
    lines(path, {**row, "failed": False}, {**row, "failed": True})
    account = readings.plain_locust(path)
    assert (account.failed, account.tokens) == (1, 2)
    assert account.readings == (readings.Reading(7, 0.5, 1.0, (0.25,)),)


def test_a_stream_is_known_by_its_id_or_by_its_text():
    assert readings.number("chatcmpl-000123") == 123
    assert readings.number("日000004.0000.0013244.989968 ") == 4
    assert readings.number("") is None
    assert readings.number("something else") is None
