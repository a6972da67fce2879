"""Open loop, limits and ramps with real Locust: does the load come as it was asked for?"""

import json
import statistics
from itertools import accumulate, pairwise

import pytest

from load_parts import (
    again_if_late,
    finished,
    lateness,
    loadtest,
    refused,
    samples_in,
    tokens_sent,
)


@again_if_late
def test_it_stays_open_while_the_server_stalls(engine, tmp_path):
    out = tmp_path / "out"
    run = loadtest(
        engine, out, "--model", "stalls", "--rate", "40", "--arrivals", "constant",
        "--requests", "200",
    )  # fmt: skip
    result = finished(run)
    samples = samples_in(out)
    assert [s["scheduled_at_s"] for s in samples] == pytest.approx(
        [k / 40 for k in range(200)], abs=1e-5
    )
    assert {s["outcome"] for s in samples} == {"ok"}
    for sample in samples:
        assert sample["lateness_s"] == pytest.approx(
            sample["started_at_s"] - sample["scheduled_at_s"], abs=2e-6
        )
        assert sample["lateness_s"] >= 0
    client = result["client"]
    late = statistics.median(s["lateness_s"] for s in samples)
    assert late < 0.005 + client["lag_p50_s"]
    assert client["dropped"] == 0

    # What the engine itself saw: 200 requests in the 4.975 s of the schedule, and in the two
    # seconds in which it answered nothing they kept coming, and each took as long as was left.
    sent = engine.sent(out)
    told = [sent[s["response_id"]] for s in samples]
    first = told[0]["received"]
    edges = samples[0]["lateness_s"] + samples[-1]["lateness_s"] + told[0]["late"]
    took = told[-1]["received"] - first
    assert took == pytest.approx(199 / 40, abs=0.05 + edges + told[-1]["late"])
    stalled = [
        (s, one) for s, one in zip(samples, told, strict=True) if 1.11 < s["scheduled_at_s"] < 2.89
    ]
    assert len(stalled) == 71
    arrived = [one["received"] - first - s["scheduled_at_s"] for s, one in stalled]
    assert abs(statistics.median(arrived)) < 0.05 + late + told[0]["late"]
    # TTFT counts from when it was due, and so the client's own lateness is in it.
    for sample, _ in stalled:
        assert sample["ttft_s"] >= 3.0 - sample["scheduled_at_s"] - 0.01
    off = [
        s["ttft_s"] - s["lateness_s"] - (one["texts"][0] - one["received"]) for s, one in stalled
    ]
    assert abs(statistics.median(off)) < 0.15 + lateness(result, sent)


def test_bursts_come_from_the_seed(engine, tmp_path):
    times = []
    for name in ("a", "b"):
        run = loadtest(
            engine, tmp_path / name, "--model", "steady", "--rate", "30", "--arrivals", "gamma:3",
            "--requests", "40", "--seed", "11",
        )  # fmt: skip
        result = finished(run)
        requests = result["requests"]
        # All that was asked for was sent, and waited for.
        assert (requests["total"], requests["ok"], requests["incomplete"]) == (40, 40, 0)
        times.append([s["scheduled_at_s"] for s in samples_in(tmp_path / name)])
    assert times[0] == times[1]
    gaps = [b - a for a, b in pairwise(times[0])]
    assert statistics.stdev(gaps) > 1.3 * statistics.fmean(gaps)


def test_users_end_after_so_many_requests(engine, tmp_path):
    run = loadtest(
        engine, tmp_path / "out", "--model", "steady", "--users", "3", "--requests", "10"
    )
    result = finished(run)
    assert result["setup"]["warmup_s"] == 0
    assert (result["requests"]["total"], result["requests"]["ok"]) == (10, 10)
    assert result["window_s"][1] < 20  # not the half minute that is measured otherwise


def test_a_ramp_is_cut_and_said(engine, tmp_path):
    out = tmp_path / "out"
    run = loadtest(
        engine, out, "--model", "steady", "--rate", "30", "--arrivals", "constant", "--ramp", "2s",
        "--warmup", "1s", "--requests", "120",
    )  # fmt: skip
    result = finished(run)
    assert result["window_s"][0] == 3
    samples = samples_in(out)
    assert sum(s["scheduled_at_s"] < 1 for s in samples) == pytest.approx(30 / 4, abs=1)
    assert sum(s["scheduled_at_s"] < 2 for s in samples) == pytest.approx(30, abs=1)
    assert [s["warmup"] for s in samples] == [s["scheduled_at_s"] < 3 for s in samples]
    assert result["requests"]["total"] == 120 - sum(s["warmup"] for s in samples)


def most_at_once(told):
    """Of answers, as the engine noted them: how many were under way at once."""
    steps = sorted([(t["received"], 1) for t in told] + [(t["texts"][-1], -1) for t in told])
    return max(accumulate(step for _, step in steps))


@pytest.mark.alone
def test_a_sweep_measures_each_load(engine, tmp_path):
    out = tmp_path / "out"
    run = loadtest(
        engine, out, "--model", "steady", "--sweep", "users=1,3", "--duration", "2s", "--warmup",
        "0s",
    )  # fmt: skip
    series = finished(run)
    assert (series["kind"], series["variable"]) == ("sweep", "users")
    assert [p["value"] for p in series["points"]] == [1, 3]
    assert [p["result"]["setup"]["users"] for p in series["points"]] == [1, 3]
    folders = [out / point["folder"] for point in series["points"]]
    sent = engine.sent(*folders)
    for point, folder, users in zip(series["points"], folders, (1, 3), strict=True):
        samples, result = samples_in(folder), point["result"]
        told = [sent[s["response_id"]] for s in samples if s["response_id"]]
        assert most_at_once([one for one in told if one["texts"]]) == users
        begin, end = result["window_s"]
        tokens, misplaced = tokens_sent(samples, sent, (begin, end))
        measured = result["throughput"]["output_tokens_per_s"] * (end - begin)
        assert measured == pytest.approx(tokens, abs=2 * users + misplaced)
    seeds = {p["result"]["setup"]["seed"] for p in series["points"]}
    assert len(seeds) == 2  # or the second would be answered from the prefix cache
    assert json.loads((out / "series.json").read_text())["points"] == series["points"]
    again = loadtest(engine, out, "--model", "steady", "--sweep", "users=1")
    assert "holds a result already" in refused(again)


def test_a_trace_is_replayed_at_its_times(engine, tmp_path):
    out, trace = tmp_path / "out", tmp_path / "trace.jsonl"
    rows = [(0, 600, 7, [1, 2]), (1000, 600, 8, [1, 2]), (1600, 40, 9, [3]), (3000, 20, 5, [])]
    trace.write_text(
        "".join(
            json.dumps({"timestamp": at, "input_length": inn, "output_length": to, "hash_ids": ids})
            + "\n"
            for at, inn, to, ids in rows
        )
    )
    run = loadtest(engine, out, "--model", "steady", "--trace", trace, "--trace-speed", "2")
    result = finished(run)
    samples = samples_in(out)
    assert result["setup"]["mode"] == "trace"
    assert [s["scheduled_at_s"] for s in samples] == pytest.approx([0, 0.5, 0.8, 1.5], abs=1e-5)
    assert {s["outcome"] for s in samples} == {"ok"}  # the last one is waited for
    sent = engine.sent(out)
    asked = [sent[s["response_id"]]["asked"] for s in samples]
    assert [a["max_tokens"] for a in asked] == [7, 8, 9, 5]
    texts = [a["messages"][0]["content"] for a in asked]
    assert texts[0] == texts[1]
    assert not texts[2].startswith(texts[0][:20])


def test_turns_of_a_conversation_carry_the_real_answers(engine, tmp_path):
    (tmp_path / "talk.yaml").write_text(
        "turns: 3\nthink_s: 0.1\ninput_tokens: 30\nsystem_tokens: 10\noutput_tokens: 20\n"
    )
    for words in (["--users", "2"], ["--rate", "4"]):
        out = tmp_path / words[0].strip("-")
        run = loadtest(
            engine, out, "--model", "steady", *words, "--requests", "2", "--workload",
            tmp_path / "talk.yaml",
        )  # fmt: skip
        result = finished(run)
        assert result["requests"]["ok"] == 6  # two conversations of three turns
        sent = engine.sent(out)
        asked = [sent[s["response_id"]]["asked"]["messages"] for s in samples_in(out)]
        assert sorted(len(messages) for messages in asked) == [2, 2, 4, 4, 6, 6]
        longest = next(messages for messages in asked if len(messages) == 6)
        assert [m["role"] for m in longest] == [
            "system", "user", "assistant", "user", "assistant", "user",
        ]  # fmt: skip
        assert longest[2]["content"] == "word " * 20  # what the engine streamed
        assert longest[:2] in asked
        scheduled = [s["scheduled_at_s"] is not None for s in samples_in(out)]
        assert sum(scheduled) == (2 if words[0] == "--rate" else 0)


def test_flags_that_do_not_go_together(engine, tmp_path):
    for words, said in (
        (["--users", "2", "--rate", "1"], "both --users and --rate"),
        (["--rate", "0"], "above 0"),
        (["--rate", "1", "--arrivals", "bursty"], "gamma:CV"),
        (["--arrivals", "poisson"], "goes with --rate"),
        (["--sweep", "users=1", "--users", "2"], "--sweep says the load"),
        (["--sweep", "users=1,2.5"], "not a number of users"),
        (["--sweep", "cats=1"], "not a sweep"),
    ):
        assert said in refused(loadtest(engine, tmp_path / "out", "--model", "steady", *words))
