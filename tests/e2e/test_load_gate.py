"""The gate, a pipeline's files and `compare`, on the command itself, against a known engine."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    log = tmp_path_factory.mktemp("engine") / "sent.jsonl"
    process = subprocess.Popen(
        [sys.executable, HERE / "fake_streaming_engine.py", log], stdout=subprocess.PIPE, text=True
    )
    yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    process.kill()
    process.wait()
    process.stdout.close()


def deployctl(*words, code, environment=None):
    done = subprocess.run(
        [sys.executable, "-m", "deployctl", *map(str, words)],
        env={**os.environ, "NO_COLOR": "1", **(environment or {})},
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def loadtest(engine, out, *words, code=0, **more):
    return deployctl(
        "loadtest", "--url", engine, "--out", out, "--duration", "4s", "--warmup", "1s", *words,
        code=code, **more,
    )  # fmt: skip


def test_a_held_slo_passes_and_leaves_the_files_of_a_pipeline(engine, tmp_path):
    out, step = tmp_path / "out", tmp_path / "step.md"
    done = loadtest(
        engine, out, "--model", "steady", "--users", "8", "--output", "json",
        "--slo", "ttft_p50=1s,itl_p50=200ms,error_rate=20%", "--fail-on-breach",
        "--junit", tmp_path / "j.xml", environment={"GITHUB_STEP_SUMMARY": str(step)},
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert result["gate"] == {"passed": True, "reasons": []}
    assert result["slo"]["verdict"] == "met"
    told = {objective["name"]: objective for objective in result["slo"]["objectives"]}
    ttft = told["ttft_p50"]
    assert ttft["low"] <= ttft["value"] <= ttft["high"] < 1
    assert ttft["value"] == pytest.approx(result["latency"]["ttft_s"]["p50"], abs=1e-3)
    # Everything that was answered was good, and so the two rates are one.
    assert result["slo"]["goodput_per_s"] == result["throughput"]["requests_per_s"]
    assert "✅ met" in step.read_text()
    suite = ElementTree.parse(tmp_path / "j.xml").find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "0", "0")
    names = {"junit.xml", "summary.md", "timeline.csv", "report.html", "summary.json"}
    assert names <= {path.name for path in out.iterdir()}
    with (out / "timeline.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = (out / "requests.jsonl").read_text().splitlines()
    assert sum(int(row["started"]) for row in rows) == len(lines)
    # The looks at /metrics went on during the run.
    assert len([row for row in rows if row["server_output_tokens"]]) >= 4
    generated = sum(int(row["server_output_tokens"] or 0) for row in rows)
    assert generated == pytest.approx(result["server"]["output_tokens"], rel=0.15)


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
        (["--fail-on-breach"], "there is no SLO"),
        (["--slo", "ttft_p95=500"], "has no unit"),
        (["--slo", "speed=1s"], "no objective"),
    ],
)
def test_a_bad_slo_is_refused_before_anything_is_asked(tmp_path, words, message):
    # Nothing listens there: with a good SLO this would end with 4.
    done = deployctl(
        "loadtest", "--url", "http://127.0.0.1:9", "--out", tmp_path / "out", *words, code=2
    )
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_compare_finds_what_changed_and_only_that(engine, tmp_path):
    users = ("--users", "8")
    for name, model in (("a", "steady"), ("again", "steady"), ("fast", "four_a_chunk")):
        loadtest(engine, tmp_path / name, "--model", model, *users)
    loadtest(engine, tmp_path / "fewer", "--model", "steady", "--users", "2")
    same = deployctl("compare", tmp_path / "a", tmp_path / "again", "--threshold", "20%", code=0)
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
    assert e2e["change"] == pytest.approx(480 / 420 - 1, abs=0.04)
    assert measures["ttft_p50"]["verdict"] == "no clear difference"
    assert "itl_p50" not in measures  # gaps between chunks of four are not of the same thing
    several = f"{tmp_path / 'a'},{tmp_path / 'again'}"
    told = deployctl("compare", several, tmp_path / "fast", "--threshold", "500%", code=0).stdout
    assert "±runs" in told
    assert f"A  {several}  steady, 2 runs from" in " ".join(told.split("\n"))
    pears = ("compare", tmp_path / "a", tmp_path / "fewer")
    assert "users: 8 and 2" in deployctl(*pears, code=2).stderr
    anyway = deployctl(*pears, "--anyway", "--threshold", "1000%", code=0)
    assert "different: users: 8 and 2" in anyway.stdout
    assert (
        deployctl("compare", tmp_path / "a", tmp_path / "none", code=2).stderr.count("hint:") == 1
    )
    assert "no unit" in deployctl(*pears, "--threshold", "5", code=2).stderr
