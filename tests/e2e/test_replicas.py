"""Several engines of one service, of the fake engine: the others serve while one is away."""

import json
import os
import signal
import threading
import time

import pytest
from tests.e2e.gateway_parts import Users, needs_caddy

import ports
from deployctl.targets.process import procfs
from process_shell import Shell, until

SEEN_S = 6.0  # for the gateway to see that one does not say that it is well, on a busy machine
WATCHDOG = ["--watchdog", "stall=3", "--watchdog", "restarts=9"]


@pytest.fixture
def served(tmp_path):
    """Two replicas behind a gateway at `shell.gateway`."""
    needs_caddy()
    shell = Shell(tmp_path, ports.free(3))
    shell.gateway_port = ports.free()
    shell.gateway = f"http://127.0.0.1:{shell.gateway_port}"
    up(shell)
    yield shell
    shell.end()


def up(shell, *words, code=0, replicas=2, **fake):
    several = ["--replicas", replicas, "--gateway-port", shell.gateway_port, *WATCHDOG]
    several += ["--kv-cache-gib", "0.25"]  # of each, which a small host has thrice
    given = {"token_s": "0.01", **fake}
    got, out, err = shell.up(*several, "--output", "json", *words, **given)
    assert got == code, err
    return (json.loads(out)["services"][0] if code == 0 else None), err


def replicas(shell):
    return shell.status()["replicas"]


def pids(shell):
    return [each["pid"] for each in replicas(shell)]


def test_no_request_fails_or_is_held_while_one_replica_after_the_other_is_replaced(served):
    with Users(served.gateway, new=1, kept=1) as users:
        told, err = up(served, loading_s="1")
        assert told["gateway"]["held"] is None
        assert "replacing replica 1" in err
        assert "requests wait" not in err
        before = pids(served)
        _, err = up(served, die_loading="3", code=4)
        assert "revision 2 serves again" in err
        after = pids(served)
        assert after[0] != before[0]  # it was brought back, and the other never touched
        assert after[1] == before[1]
        until(lambda: users.asked and users.asked[-1].began > users.begun + 3)
    assert users.failed == []


@pytest.mark.night
def test_no_request_fails_where_replicas_come_and_go(served):
    with Users(served.gateway, redials=True) as users:
        up(served, replicas=3)
        assert len(pids(served)) == 3
        up(served, "--gateway", replicas=1)
        assert replicas(served) == []
        code, _, err = served.run("rollback", "tiny")
        assert (code, "adding replica 2" in err) == (0, True)
        assert len(pids(served)) == 3
    assert users.failed == []


def test_one_that_is_killed_or_hangs_is_started_again_alone_and_the_others_serve(served):
    first, second = pids(served)
    with Users(served.gateway) as users:
        until(lambda: len(users.asked) > 8)
        os.kill(second, signal.SIGKILL)
        until(lambda: not procfs.identify(second))
        killed = len(users.asked)
        until(lambda: len(users.asked) > killed + 20)
        assert [e for e in users.asked[killed + 4 :] if e.problem] == []  # four may have been in it
        until(lambda: [r["health"] for r in replicas(served)] == ["serving", "serving"])
        assert [r["restarts"] for r in replicas(served)] == [0, 1]
    os.kill(first, signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        with Users(served.gateway) as users:
            until(lambda: len([e for e in users.asked if not e.problem]) > 40)
            until(lambda: replicas(served)[0]["restarts"] == 1)  # by its watchdog
        assert [e for e in users.failed if e.began > stopped + SEEN_S] == []
    finally:
        if procfs.identify(first):
            os.kill(first, signal.SIGCONT)
    until(lambda: [r["health"] for r in replicas(served)] == ["serving", "serving"])
    assert served.run("status", "tiny")[0] == 0
    told = json.loads(served.run("metrics", "tiny", "--output", "json")[1])["replicas"]
    assert [each["url"] for each in told] == [each["url"] for each in replicas(served)]


def test_after_a_kill_amid_an_update_each_replica_is_told_as_it_is_and_up_goes_on(served, tmp_path):
    hold = tmp_path / "may-load"
    words = ["--replicas", 2, "--gateway-port", served.gateway_port, *WATCHDOG]
    words += ["--kv-cache-gib", "0.25"]
    again = served.up_words(*words, token_s="0.01", hold=hold)
    first, second = pids(served)
    with Users(served.gateway, redials=True) as users:
        with served.start(*again) as killed:
            until(lambda: replicas(served)[0]["revision"] == 2)
            killed.kill()
        status = served.status(0)
        each = [(r["revision"], r["health"]) for r in status["replicas"]]
        assert each == [(2, "starting"), (1, "serving")]
        assert (status["health"], pids(served)[1]) == ("serving", second)
        assert "amid an update to revision 2: replica 1 is of 1 still" in status["detail"]
        hold.touch()
        code, out, err = served.run(*again)
        assert code == 0, err
        assert "going on with revision 2" in err
    assert users.failed == []
    assert [(r["revision"], r["health"]) for r in replicas(served)] == [(2, "serving")] * 2
    assert first not in pids(served)
    for number in (0, 1):  # where each is, in the last lines of up
        assert f"replica {number}  http://127.0.0.1:{served.port + number}\n" in out

    # Back to what is in place: nothing is changed.
    there = pids(served)
    code, _, err = served.run("rollback", "tiny", "--to", 2)
    assert (code, "tiny serves that already: revision 2, unchanged" in err) == (0, True)
    assert pids(served) == there


def test_logs_of_all_replicas_are_followed(served):
    _, second = pids(served)
    said = []
    with served.start("logs", "--follow", "tiny") as follows:
        reads = threading.Thread(target=lambda: said.extend(follows.stdout), daemon=True)
        reads.start()
        try:
            until(lambda: {line.partition(":")[0] for line in said} == {"replica 0", "replica 1"})
            os.kill(second, signal.SIGKILL)
            until(lambda: any("replica 1: deployctl: the engine serves again" in e for e in said))
        finally:
            follows.kill()
            reads.join()
    one = served.run("logs", "tiny", "--replica", 1)[1]
    assert "deployctl: the engine serves again" in one
    assert "replica 1:" not in one
    code, _, err = served.run("logs", "tiny", "--replica", 2)
    assert (code, "revision 1 of tiny has no replica 2" in err) == (2, True)
