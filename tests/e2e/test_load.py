"""smoke, metrics and loadtest against the real vLLM, found by the service's name."""

import csv
import json
import math
import statistics

import pytest
from tests.e2e.measured import KEY
from tests.e2e.pasted import needed, paste

pytestmark = pytest.mark.vllm


@pytest.fixture(scope="module")
def operator(measured_engine):
    yield measured_engine
    measured_engine.down()


def test_smoke_gets_the_right_capital_and_finds_the_door_locked(operator):
    answer = operator.json("smoke")  # the only service: no name is needed
    assert answer["ok"]
    assert "Paris" in answer["answer"]
    assert answer["output_tokens"] > 0
    checks = {check["name"]: check["ok"] for check in answer["checks"]}
    assert checks == {
        "health": True,
        "models": True,
        "key": True,
        "strangers": True,
        "completion": True,
    }
    text = operator("smoke", "measured").stdout
    assert "Q What is the capital of France?" in text
    assert "Paris" in text.split("\nA ")[1]


@needed
def test_what_clients_are_shown_to_paste_works_as_it_is(operator):
    shown = operator.json("status", "measured", "--connect")["connect"]["snippets"]
    made = {snippet["name"]: snippet for snippet in shown}
    answer = json.loads(paste(made["curl"]))
    assert answer["choices"][0]["message"]["content"].strip()  # what it says is of chance
    assert paste(made["Python"]).strip()


def test_smoke_fails_with_4_on_a_wrong_answer_and_on_a_missing_key(operator):
    wrong = operator.json("smoke", "--expect", "Atlantis", code=4)
    assert not wrong["ok"]
    refused = operator("smoke", "--url", operator.url, code=4)
    assert "wants an API key" in refused.stderr
    assert "hint:" in refused.stderr


def test_the_load_test_and_the_engine_agree(operator):
    out = operator.folder / "out"
    result = operator.json(
        "loadtest", "measured", "--users", "2", "--duration", "12s", "--warmup", "2s",
        "--input-tokens", "60", "--output-tokens", "16", "--out", out,
    )  # fmt: skip
    requests, server = result["requests"], result["server"]
    assert requests["ok"] >= 2
    assert requests["failed"] == 0
    assert result["tokens"]["counted_by"] == "usage"
    assert result["tokens"]["output_mean"] == 16
    # To the token, template and all: the engine's tokenizer was asked before the run.
    assert result["setup"]["prompt_lengths"] == "exact"
    assert result["tokens"]["input_mean"] == 60
    lines = [json.loads(line) for line in (out / "requests.jsonl").read_text().splitlines()]
    # Every token but those of the requests that the end cut off.
    cut = sum(line["outcome"] == "incomplete" for line in lines)
    assert 0 <= server["output_tokens"] - server["client_output_tokens"] <= 16 * cut
    # Ours is further away from the engine than its own, by its front end and the network. The
    # engine's means are of the whole run, so ours must be too.
    firsts = [line["ttft_s"] for line in lines if line["ttft_s"] is not None]
    assert statistics.fmean(firsts) > 0.8 * server["ttft_mean_s"]
    gaps = [gap for line in lines for gap in line["chunk_gaps_s"]]
    assert statistics.fmean(gaps) == pytest.approx(server["itl_mean_s"], rel=0.35)
    assert server["prefix_cache_hit_rate"] < 0.4
    # The engine's own histograms of TTFT hold our percentiles, to a bucket's width and to what
    # the machine let the client wait.
    agreement = {each["name"]: each for each in server["agreement"]}
    assert {"ttft_p50", "ttft_p95"} <= set(agreement)
    p50 = agreement["ttft_p50"]
    width = (p50["server_high_s"] or math.inf) - p50["server_low_s"]
    assert abs(p50["gap_s"]) <= width + result["client"]["lag_p99_s"], agreement
    assert 1 <= (server["running_max"] or 0) <= 2, (server, result["verdicts"])
    with (out / "timeline.csv").open() as file:
        looks = [row for row in csv.DictReader(file) if row["server_running"]]
    assert len(looks) >= 4  # of one a second, where a busy engine answers late
    assert [line["index"] for line in lines] == list(range(len(lines)))
    assert all(line["response_id"] for line in lines if line["outcome"] == "ok")
    assert "<svg" in (out / "report.html").read_text()
    for path in out.iterdir():
        assert KEY not in path.read_text(), path
    operator("loadtest", "measured", "--out", out, code=2)  # a result is not overwritten


def test_open_loop_with_a_shared_prefix_is_exact_and_meets_the_prefix_cache(operator):
    (operator.folder / "prefix.yaml").write_text(
        "system_tokens: 20\nshared_prefix: {tokens: 300}\ninput_tokens: 80\noutput_tokens: 4\n"
    )
    out = operator.folder / "open"
    result = operator.json(
        "loadtest", "measured", "--rate", "1", "--arrivals", "constant", "--requests", "10",
        "--workload", operator.folder / "prefix.yaml", "--workers", "2", "--out", out,
    )  # fmt: skip
    assert (result["requests"]["ok"], result["requests"]["total"]) == (10, 10)
    lines = [json.loads(line) for line in (out / "requests.jsonl").read_text().splitlines()]
    assert {line["input_tokens"] for line in lines} == {20 + 300 + 80}
    assert [line["scheduled_at_s"] for line in lines] == pytest.approx(list(range(10)), abs=1e-5)
    assert {line["output_tokens"] for line in lines} == {4}
    # Two whole blocks of 128 are common to all, and found from the second request on.
    assert result["server"]["prefix_cache_hit_rate"] > 0.35


def test_completions_and_the_text_table(operator):
    text = operator(
        "loadtest", "--users", "1", "--duration", "6s", "--warmup", "0s", "--api", "completions",
        "--output-tokens", "8", "--input-tokens", "20",
    ).stdout  # fmt: skip
    for word in ("TTFT", "ITL", "TPOT", "E2E", "Throughput", "results/measured-"):
        assert word in text


def test_metrics_after_all_that(operator):
    figures = operator.json("metrics", "measured")
    assert figures["basis"] == "since_start"
    assert figures["generation_tokens"] > 0
    assert figures["ttft_s"]["observed"] > 0
    assert figures["running"] == 0
    assert figures["preemptions"] == 0
    assert 0 <= figures["kv_cache_usage"] <= 1
    table = operator("metrics").stdout
    assert "since the engine started" in table
    assert "TTFT" in table


def test_a_seed_repeats_the_prompts_and_the_prefix_cache_is_noticed(operator):
    arguments = ["--users", "1", "--requests", "6", "--output-tokens", "4"]
    # On a CPU the cache holds whole blocks of 128 tokens.
    arguments += ["--seed", "7", "--input-tokens", "400"]
    first, again = (
        operator.json("loadtest", *arguments, "--out", operator.folder / name)
        for name in ("seeded", "seeded-again")
    )
    assert first["server"]["prefix_cache_hit_rate"] < 0.5
    assert again["server"]["prefix_cache_hit_rate"] > first["server"]["prefix_cache_hit_rate"] + 0.2
    assert again["server"]["prefix_cache_hit_rate"] > 0.5
    assert "prefix_cache" in [verdict["code"] for verdict in again["verdicts"]]
