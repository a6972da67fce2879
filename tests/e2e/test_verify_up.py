"""`up --verify`: a bad revision is taken back and a good one kept, on the fake engine.

The engine makes a token every 15 ms, for as many requests at once as --max-num-seqs says: 8
users who are answered one after the other, with 64 tokens each, wait for 7 s on any machine.
"""

import json
import signal

import pytest

from process_shell import PATIENCE_S, until
from verify_parts import Prober, planted

SLO = "ttft_p95=3s,error_rate=1%"
SLACK_S = 5.0  # a prober on a busy machine asks late
LONG_S = 180.0


@pytest.fixture
def service(shell, tmp_path):
    """Revision 1 of `tiny`, which serves, and a recommendation that it should not have."""
    shell.environment["GITHUB_STEP_SUMMARY"] = ""
    bad = tmp_path / "bad.yaml"
    shell.bad = planted(bad, shell.model, objective="goodput", value=9.0, slo=SLO, load="users=10")
    shell.out = tmp_path / "measured"
    code, _, err = shell.up(token_s="0.015")
    assert code == 0, err
    return shell


def verified(shell, *words, **fake):
    """Words of an `up --verify` that takes 11 s."""
    more = ["--verify", "--verify-for", "6s", "--verify-out", shell.out, "--output", "json"]
    return shell.up_words(*more, *words, **{"token_s": "0.015", **fake})


def run(shell, words):
    process = shell.start(*words)
    out, err = process.communicate(timeout=LONG_S)
    assert "Traceback" not in err, err
    return process.returncode, json.loads(out)["services"][0] if out else None, err


def messages(shell):
    _, out, _ = shell.run("history", "tiny", "--output", "json")
    return [(r["status"], r["message"]) for r in json.loads(out)["revisions"]]


def services(shell):
    """Those of this state folder; what a Docker engine runs at the same time is others'."""
    _, out, _ = shell.run("status", "--output", "json")
    return {s["service"]: s for s in json.loads(out)["services"] if s["target"] == "process"}


def test_beside_a_bad_revision_never_comes_near_the_users(service):
    with Prober(service.port, "tiny") as prober:
        code, answer, err = run(service, verified(service, "--tuned", service.bad, "--beside=yes"))
    assert code == 5, err
    assert "verification failed: ttft_p95" in err
    assert "tiny was not touched" in err
    assert prober.failures == []
    seen = answer["verification"]
    assert (seen["where"], seen["kept"], seen["passed"]) == ("beside", False, False)
    assert seen["load"] == {"users": 8}
    assert seen["gaps_s"] == []
    assert (answer["revision"], answer["changed"]) == (1, False)
    assert answer["tuned"]["settings"] == {"max_num_seqs": 1}
    assert (service.out / "report.html").exists()
    [(_, first), (second, why)] = messages(service)
    assert first == ""
    assert second == "failed"
    assert why.startswith("verification failed: ttft_p95 ")
    assert list(services(service)) == ["tiny"]
    assert service.status(0)["revision"] == 1


def test_in_its_place_a_bad_revision_is_taken_back_within_the_stated_gap(service):
    with Prober(service.port, "tiny") as prober:
        code, answer, err = run(service, verified(service, "--tuned", service.bad, "--beside=no"))
    assert code == 5, err
    assert "revision 1 serves again" in err
    seen = answer["verification"]
    assert (seen["where"], seen["why"]) == ("replaced", "as asked for")
    assert len(seen["gaps_s"]) == 2  # to revision 2, and back
    assert prober.longest_s <= max(seen["gaps_s"]) + SLACK_S
    assert answer["revision"] == 1
    assert service.status(0)["revision"] == 1


def test_a_good_revision_is_kept(service):
    with Prober(service.port, "tiny") as prober:
        words = verified(service, "--slo", SLO, "--users", 8, "--max-num-seqs", 64, "--beside=yes")
        code, answer, err = run(service, words)
    assert code == 0, err
    seen = answer["verification"]
    assert (seen["where"], seen["kept"], seen["passed"]) == ("beside", True, True)
    assert (answer["revision"], answer["changed"]) == (2, True)
    [gap] = seen["gaps_s"]
    assert prober.longest_s <= gap + SLACK_S
    assert messages(service)[1][1].startswith("verified: ttft_p95 ")
    assert list(services(service)) == ["tiny"]
    # The same again changes nothing, and is measured all the same.
    words = verified(service, "--slo", "ttft_p50=1ms", "--users", 8, "--max-num-seqs", 64)
    words[words.index("--verify-out") + 1] = service.out.with_name("again")
    words[words.index("--verify-for") + 1] = "2s"
    code, answer, err = run(service, words)
    assert code == 5, err
    assert "nothing was changed" in err
    assert answer["verification"]["where"] == "in_place"
    assert service.status(0)["revision"] == 2


def test_an_engine_that_dies_under_load_is_taken_back(service):
    words = verified(service, "--slo", SLO, "--users", 8, "--beside=no", die_after="12")
    words[words.index("--verify-for") + 1] = "2s"
    code, answer, err = run(service, words)
    assert code == 4, err
    assert "the engine died under load" in err
    assert "the fake engine dies under load" in err
    assert "revision 1 serves again" in err
    assert answer["verification"]["kept"] is False
    assert service.status(0)["revision"] == 1


def test_ctrl_c_in_a_verification_brings_the_old_revision_back(service):
    words = verified(service, "--slo", SLO, "--users", 8, "--max-num-seqs", 64, "--beside=no")
    process = service.start(*words)
    until(lambda: (service.out / "locust.log").exists())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LONG_S)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    until(lambda: service.run("status", "tiny")[0] == 0)
    assert service.status(0)["revision"] == 1
    assert service.history() == [(1, "deployed"), (2, "failed")]


@pytest.mark.parametrize("beside", ["yes", "no"])
def test_killed_in_a_verification_nothing_is_lost(service, beside):
    words = verified(
        service, "--slo", SLO, "--users", 8, "--max-num-seqs", 64, f"--beside={beside}"
    )
    process = service.start(*words)
    until(lambda: (service.out / "locust.log").exists())
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    shown = services(service)
    if beside == "yes":  # the old one serves on, and the candidate is no secret
        assert shown["tiny"]["revision"] == 1
        assert set(shown) == {"tiny", "tiny-candidate"}
    else:
        assert (shown["tiny"]["revision"], shown["tiny"]["status"]) == (2, "pending")
    assert {s["health"] for s in shown.values()} == {"serving"}
    code, _, err = service.up("--max-num-seqs", 64, token_s="0.015", loading_s="0.1")
    assert code == 0, err
    assert "left unfinished" in err
    assert list(services(service)) == ["tiny"]
    assert service.history()[-1][1] == "deployed"
    assert len(list(service.state.rglob("supervisor.json"))) == 1


def test_watching_users_who_are_not_there_proves_nothing(service):
    words = ["--verify", "--watch-metrics", "--verify-for", "2s", "--slo", "ttft_p95=1s"]
    code, out, err = service.run(*service.up_words(*words, "--output", "json", token_s="0.03"))
    assert code == 5, err
    assert "it had no traffic" in err
    answer = json.loads(out)["services"][0]
    assert (answer["verification"]["how"], answer["revision"]) == ("watch", 1)
    assert service.status(0)["revision"] == 1
