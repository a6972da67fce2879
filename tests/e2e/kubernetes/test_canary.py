"""What is tried beside a service that serves, and leaves nothing: a canary, trials of `tune`.

The engine is a fake: what is shown is who serves meanwhile, and what is left.
"""

import json
import signal
import subprocess
import sys

import pytest
from tests.e2e.docker_parts import until

MET, MISSED = "ttft_p95=30s", "ttft_p95=0.01ms"


@pytest.fixture
def words(namespace, fake_image, tiny_checkpoint):
    return namespace.words(fake_image, tiny_checkpoint)


def verified(slo):
    return ("--max-num-seqs", "4", "--verify", "--slo", slo, "--verify-users", "1",
            "--verify-for", "5s")  # fmt: skip


def left(namespace):
    """What is there of anything tried beside, records among it."""
    return [kind for kind in namespace.kinds() if "candidate" in kind or "tune" in kind]


def test_a_canary_that_misses_its_slo_goes_and_one_that_meets_it_is_kept(namespace, words):
    namespace("up", *words)
    first = namespace.pods()
    missed = namespace("up", *words, *verified(MISSED), code=5).stderr
    assert "trying revision 2 as chat-candidate, as a canary" in missed
    assert "ttft_p95" in missed
    assert "chat was not touched and still serves" in missed
    assert (namespace.pods(), left(namespace)) == (first, [])
    status = namespace.status("chat")
    assert (status["health"], status["revision"]) == ("serving", 1)

    kept = namespace.json("up", *words, *verified(MET))["verification"]
    assert (kept["where"], kept["kept"]) == ("beside", True)
    assert not set(namespace.pods()) & set(first)
    assert left(namespace) == []
    history = namespace("history", "chat", "--target", "kubernetes", "--output", "json").stdout
    statuses = [revision["status"] for revision in json.loads(history)["revisions"]]
    assert statuses == ["superseded", "failed", "deployed"]


@pytest.mark.night
def test_a_canary_whose_up_was_killed_is_ended_by_the_next(namespace, words):
    namespace("up", *words)
    first = namespace.pods()
    command = [sys.executable, "-m", "deployctl", "up", *words, *verified(MET)]
    begun = subprocess.Popen([*map(str, command)], env=namespace.environment)
    until(
        lambda: "chat-candidate" in {d["metadata"]["name"] for d in namespace.get("deployments")},
        seconds=120, what="the canary is there",
    )  # fmt: skip
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    assert "cleaning up chat-candidate" in namespace("up", *words).stderr
    assert (namespace.pods(), left(namespace)) == (first, [])


@pytest.mark.night
def test_tune_tries_one_after_the_other_and_leaves_nothing(namespace, words, tmp_path):
    study = tmp_path / "study"
    given = ("--objective", "goodput", "--slo", MET, "--budget", "4m", "--max-trials", "2",
             "--load", "rate=4", "--seed", "3", "--study", study)  # fmt: skip
    answer = json.loads(namespace("tune", *words, *given, "--output", "json").stdout)
    assert answer["verdict"] in ("winner", "no_clear_winner", "baseline_best")
    assert 1 <= answer["trials"]["run"] <= 2
    assert (study / "recommendation.yaml").is_file()
    assert (namespace.pods(), left(namespace)) == ({}, [])
