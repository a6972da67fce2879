"""What `docker inspect` says, read as the state of an engine."""

import json

import pytest

from deployctl.targets.docker.running import all_restarts, engine_state


def record(status, *, health=None, restarts=0, said=(), **state):
    return {
        "Name": "/deployctl-x-engine-1",
        "RestartCount": restarts,
        "State": {
            "Status": status,
            "StartedAt": "2026-11-24T08:05:07.397792233Z",
            **(
                {"Health": {"Status": health, "Log": [{"Output": s} for s in said]}}
                if health
                else {}
            ),
            **state,
        },
    }


def event(kind, why):
    at = "2026-11-24T08:05:07+00:00"
    return json.dumps({"at": at, "event": kind, "why": why, "restarts": 1}) + "\n"


EVENT, LAST_WORD = event("restart", "it hung"), event("gave-up", "exit code 0; no more")


@pytest.mark.parametrize(
    ("found", "condition", "detail"),
    [
        (record("running", health="healthy"), "running", ""),
        (record("running", health="starting"), "running", ""),
        (record("running"), "running", ""),
        (
            record("running", health="unhealthy"),
            "running",
            "unhealthy: /health does not answer",
        ),
        (record("running", health="healthy", restarts=1), "running", "Docker restarted it once"),
        (
            record("running", health="starting", restarts=3),
            "running",
            "Docker restarted it 3 times; loading again",
        ),
        (
            record(
                "running", health="unhealthy", said=[EVENT, f"{EVENT}3 requests and no progress\n"]
            ),
            "running",
            "unhealthy: 3 requests and no progress",
        ),
        (record("running", health="unhealthy", said=[LAST_WORD]), "dead", "exit code 0; no more"),
        (record("running", health="healthy", said=[LAST_WORD]), "running", ""),
        (record("paused"), "running", "paused"),
        (record("exited", ExitCode=0), "dead", "exit code 0"),
        (record("exited", ExitCode=1), "dead", "exit code 1"),
        (record("exited", ExitCode=137), "dead", "killed by SIGKILL"),
        (record("exited", ExitCode=255), "dead", "exit code 255"),
        (record("exited", ExitCode=137, OOMKilled=True), "dead", "killed: out of memory"),
        (record("created"), "dead", "created and never started"),
        (record("created", Error="port is taken"), "dead", "port is taken"),
        (
            record("restarting", ExitCode=1),
            "dead",
            "exit code 1, Docker is about to restart it",
        ),
        (record("dead", ExitCode=2), "dead", "exit code 2"),
    ],
)
def test_condition(found, condition, detail):
    state = engine_state(found)
    assert (state.condition, state.detail) == (condition, detail)
    assert state.container == "deployctl-x-engine-1"
    assert state.started == "2026-11-24T08:05:07+00:00"


@pytest.mark.parametrize(
    ("found", "before", "has"),
    [
        (record("running", health="starting"), None, True),
        (record("running", health="starting", restarts=1), 0, True),  # started again, as it loads
        (record("restarting", ExitCode=1), None, True),
        (record("running", health="unhealthy", said=[LAST_WORD]), None, False),  # its watchdog
        (record("exited", ExitCode=1), None, False),
        (record("created"), None, False),
    ],
)
def test_one_that_has_ended_for_good_holds_no_memory(found, before, has):
    assert engine_state(found, restarts_before=before).has_memory == has


def test_restarts_before_ours_do_not_count():
    found = record("running", health="starting", restarts=2)
    assert engine_state(found, restarts_before=2).condition == "running"
    assert engine_state(found, restarts_before=1).condition == "dead"


def test_those_of_its_watchdog_count_too():
    found = record("running", health="starting", restarts=1, said=[EVENT])
    assert all_restarts(found) == 2
    assert engine_state(found, restarts_before=2).condition == "running"
    state = engine_state(found, restarts_before=1)
    assert (state.condition, state.restarts.why) == ("dead", "it hung")
    assert state.detail == "it ended, and was started again: it hung"


def test_a_container_that_never_started_has_no_start():
    found = record("created")
    found["State"]["StartedAt"] = "0001-01-01T00:00:00Z"
    assert engine_state(found).started is None
