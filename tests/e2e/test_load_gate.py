"""The gate, a pipeline's files and `compare`, on the command itself, against a known engine."""

import csv
import json
import os
import re
import statistics
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from load_parts import PATIENCE_S, TTFT, again_if_late, most_late, samples_in


def deployctl(*words, code, environment=None):
    done = subprocess.run(
        [sys.executable, "-m", "deployctl", *map(str, words)],
        env={**os.environ, "NO_COLOR": "1", **(environment or {})},
        capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def loadtest(engine, out, *words, code=0, **more):
    return deployctl(
        "loadtest", "--url", engine.url, "--out", out, "--duration", "4s", "--warmup", "1s", *words,
        code=code, **more,
    )  # fmt: skip


@pytest.mark.alone  # a look at /metrics a second is to come to pass
def test_a_held_slo_passes_and_leaves_the_files_of_a_pipeline(engine, tmp_path):
    out, step = tmp_path / "out", tmp_path / "step.md"
    done = loadtest(
        engine, out, "--model", "steady", "--users", "8", "--output", "json",
        "--slo", "ttft_p50=10s,itl_p50=5s,error_rate=20%", "--fail-on-breach",
        "--junit", tmp_path / "j.xml", environment={"GITHUB_STEP_SUMMARY": str(step)},
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert result["gate"] == {"passed": True, "reasons": []}
    assert result["slo"]["verdict"] == "met"
    told = {objective["name"]: objective for objective in result["slo"]["objectives"]}
    ttft = told["ttft_p50"]
    assert ttft["low"] <= ttft["value"] <= ttft["high"] < 10
    assert ttft["value"] == pytest.approx(result["latency"]["ttft_s"]["p50"], abs=1e-3)
    # Everything that was answered was good, and so the two rates are one.
    assert result["slo"]["goodput_per_s"] == result["throughput"]["requests_per_s"]
    assert "✅ met" in step.read_text()
    suite = ElementTree.parse(tmp_path / "j.xml").find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "0", "0")
    names = {"junit.xml", "summary.md", "timeline.csv", "report.html", "summary.json",
             "metrics.prom"}  # fmt: skip
    assert names <= {path.name for path in out.iterdir()}
    with (out / "timeline.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = (out / "requests.jsonl").read_text().splitlines()
    assert sum(int(row["started"]) for row in rows) == len(lines)
    # The looks at /metrics went on during the run: without them only the last row has one.
    looked = [index for index, row in enumerate(rows) if row["server_output_tokens"]]
    assert len(looked) >= 2
    # What they saw was made before the client had it, and before the last look of all; the
    # clocks of the two may be a token of each user apart.
    received = sum(float(row["output_tokens"]) for row in rows[: looked[-1]])
    generated = sum(int(rows[index]["server_output_tokens"]) for index in looked)
    assert received - 8 <= generated <= result["server"]["output_tokens"]


def test_a_missed_slo_ends_with_five_and_says_by_how_much(engine, tmp_path):
    slo = "ttft_p50=20ms,error_rate=20%"
    words = ("--model", "steady", "--users", "8", "--slo", slo)
    told = loadtest(engine, tmp_path / "told", *words).stdout  # not a gate: only said
    assert re.search(r"ttft_p50 +missed", told)
    assert re.search(r"error_rate +met", told)
    done = loadtest(engine, tmp_path / "out", *words, "--fail-on-breach", code=5)
    assert "ttft_p50 missed: 1" in done.stderr
    assert "limit 20 ms (95% interval" in done.stderr
    assert re.search(r", \d+ values", done.stderr)
    assert (tmp_path / "out" / "report.html").exists()


def test_a_server_that_fails_everything_passes_no_gate(engine, tmp_path):
    done = loadtest(
        engine, tmp_path / "out", "--model", "http_503", "--users", "1",
        "--slo", "error_rate=100%", "--fail-on-breach", code=5,
    )  # fmt: skip
    assert "no_success" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fail-on-breach"], "needs an SLO"),
        (["--slo", "ttft_p95=500"], "has no unit"),
        (["--slo", "speed=1s"], "unknown objective"),
    ],
)
def test_a_bad_slo_is_refused_before_anything_is_asked(tmp_path, words, message):
    # Nothing listens there: with a good SLO this would end with 4.
    done = deployctl(
        "loadtest", "--url", "http://127.0.0.1:9", "--out", tmp_path / "out", *words, code=2
    )
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def whole(folder, sent):
    """How long the engine took for a measured answer of a run, in seconds: the median."""
    good = [s for s in samples_in(folder) if s["outcome"] == "ok" and not s["warmup"]]
    told = [sent[s["response_id"]] for s in good]
    return statistics.median(t["texts"][-1] - t["received"] for t in told)


@again_if_late
def test_compare_finds_what_changed_and_only_that(engine, tmp_path):
    users = ("--users", "8")
    for name, model in (("a", "steady"), ("again", "steady"), ("fast", "four_a_chunk")):
        loadtest(engine, tmp_path / name, "--model", model, *users)
    short = ("--duration", "1s", "--warmup", "0s")
    loadtest(engine, tmp_path / "fewer", "--model", "steady", "--users", "2", *short)
    # Two runs of the same engine differ by what the machine made them wait, and by no more.
    allowed = f"{20 + 100 * most_late(engine, tmp_path) / TTFT:.0f}%"
    same = deployctl("compare", tmp_path / "a", tmp_path / "again", "--threshold", allowed, code=0)
    assert "no clear difference" in same.stdout
    done = deployctl("compare", tmp_path / "fast", tmp_path / "a", "--output", "json", code=5)
    answer = json.loads(done.stdout)
    assert answer["version"] == 1
    assert not answer["passed"]
    measures = {measure["name"]: measure for measure in answer["measures"]}
    # The same tokens in chunks of four: the last is there after 420 ms, not after 480 ms.
    assert {"tpot_p50", "e2e_p50"} <= set(answer["regressions"])
    e2e = measures["e2e_p50"]
    assert e2e["low"] < e2e["change"] < e2e["high"]
    sent = engine.sent(tmp_path / "a", tmp_path / "fast")
    took = {name: whole(tmp_path / name, sent) for name in ("a", "fast")}
    assert e2e["change"] == pytest.approx(took["a"] / took["fast"] - 1, abs=0.04)
    ttft = measures["ttft_p50"]
    late = statistics.median(told["late"] for told in sent.values())
    assert ttft["verdict"] == "no clear difference" or abs(ttft["change"]) < late / TTFT
    assert "itl_p50" not in measures  # gaps between chunks of four are not of the same thing
    several = f"{tmp_path / 'a'},{tmp_path / 'again'}"
    told = deployctl("compare", several, tmp_path / "fast", "--threshold", "9999%", code=0).stdout
    assert "±runs" in told
    assert f"A  {several}  steady, 2 runs from" in " ".join(told.split("\n"))
    pears = ("compare", tmp_path / "a", tmp_path / "fewer")
    assert "users: 8 and 2" in deployctl(*pears, code=2).stderr
    anyway = deployctl(*pears, "--anyway", "--threshold", "9999%", code=0)
    assert "different: users: 8 and 2" in anyway.stdout
    assert (
        deployctl("compare", tmp_path / "a", tmp_path / "none", code=2).stderr.count("hint:") == 1
    )
    assert "no unit" in deployctl(*pears, "--threshold", "5", code=2).stderr
