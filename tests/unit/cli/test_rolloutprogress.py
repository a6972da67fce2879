"""What is said of a rollout in a pipe: a line an event, and the load test that verifies it."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from deployctl.cli import rolloutprogress
from deployctl.cli.loadprogress import LoadProgress
from deployctl.cli.rolloutprogress import RolloutProgress, show_deployed, tell_gaps
from deployctl.endpoint import Endpoint
from deployctl.errors import InterruptedByUserError
from deployctl.events import Event
from deployctl.load.locust import Progress
from deployctl.operations.deploy.deployed import Deployed
from deployctl.targets.front import HeldRequests
from deployctl.targets.waits import Waits
from deployctl_loadtest.result import Setup

SETUP = Setup(None, "http://h:1", "m", "chat", 2, 10, 5, 10, 5, True, 1, 60)


def said(capsys, *events, load=None, error=None):
    try:
        with RolloutProgress(load) as tell:
            for event in events:
                tell(event)
            if error:
                raise error
    except (KeyError, InterruptedByUserError):
        pass
    return re.sub(r"\d+(\.\d+)? m?s", "T", capsys.readouterr().err).splitlines()


def test_headings_stand_out_and_phases_say_when_they_began(capsys):
    assert said(
        capsys,
        Event("warning", "little memory"),
        Event("heading", "chat: m on l4, target process"),
        Event("phase", "loading weights"),
        Event("note", "stopping revision 1"),
    ) == [
        "warning: little memory",
        "chat: m on l4, target process",
        "  loading weights (after T)",
        "  stopping revision 1",
    ]


def test_a_phase_that_fails_says_so(capsys):
    lines = said(capsys, Event("phase", "loading weights"), error=KeyError())
    assert lines == ["  loading weights (after T)", "  loading weights failed after T"]


def test_what_ctrl_c_leaves_to_start_by_itself_has_not_failed(capsys):
    """Of a former revision that was starting again it was said that its start had failed."""
    lines = said(capsys, Event("phase", "loading weights"), error=InterruptedByUserError("stopped"))
    assert lines == ["  loading weights (after T)"]


def test_behind_a_gateway_metrics_are_at_the_engines_own_port(make_release, capsys):
    """`url  http://127.0.0.1:8080/v1` and `token … for /metrics`: that of the gateway is 404."""
    endpoint = Endpoint("http://127.0.0.1:8000", "tiny", None, gateway="http://127.0.0.1:8080")
    token = Path("/state/tiny/operator_token")
    show_deployed(Deployed(make_release(), "process", True, 1.0, 0.0, endpoint, None, token, None))
    assert f"in {token}, for http://127.0.0.1:8000/metrics\n" in capsys.readouterr().out
    several = endpoint._replace(url="http://127.0.0.1:8080", replicas=(endpoint, endpoint))
    show_deployed(Deployed(make_release(), "process", True, 1.0, 0.0, several, None, token, None))
    assert f"in {token}, for /metrics\n" in capsys.readouterr().out


@pytest.mark.parametrize("token", [Path("/state/tiny/operator_token"), None])
def test_where_it_serves_and_what_prometheus_shows(make_release, capsys, token):
    endpoint = Endpoint("http://127.0.0.1:8000", "tiny", None)
    show_deployed(Deployed(make_release(), "process", True, 1.0, 0.0, endpoint, None, token, None))
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["url"] == "http://127.0.0.1:8000/v1"
    assert rows.get("token") == (token and "in /state/tiny/operator_token, for /metrics")
    assert "key" not in rows


@pytest.mark.parametrize(
    ("waits", "more"),
    [
        (
            Waits(212, 9, 36.4, 2),
            "; of 212 that have ended 9 waited, 36.4 s at most; 2 waited in vain",
        ),
        (Waits(3, 0, 0.0, 0), ""),
    ],
)
def test_behind_a_gateway_it_is_said_how_long_requests_waited(make_release, capsys, waits, more):
    endpoint, release = Endpoint("http://127.0.0.1:8000", "tiny", None), make_release()
    shown = Deployed(release, "process", True, 1.0, 0.0, endpoint, None, None, None)
    tell_gaps(replace(shown, held=HeldRequests(37.2, waits), gaps_s=(37.2,)))
    told = capsys.readouterr().err
    assert told == f"{release.service}: requests waited 37.2 s at most{more}\n"


def test_without_a_gateway_it_is_said_how_long_nobody_answered_and_what_would_help(
    make_release, capsys
):
    endpoint, release = Endpoint("http://127.0.0.1:8000", "tiny", None), make_release()
    shown = Deployed(release, "process", True, 1.0, 0.0, endpoint, None, None, None)
    tell_gaps(replace(shown, gaps_s=(37.2,)))
    told = capsys.readouterr().err
    told_of = "did not answer for 37.2 s; behind a --gateway requests wait"
    assert told == f"{release.service} {told_of}\n"


def test_the_line_to_try_it_has_the_key_read_and_not_among_its_words(
    make_release, capsys, tmp_path
):
    key = tmp_path / "it's a key"
    key.write_text("the-key\n")
    endpoint = Endpoint("https://h", "it's $(id)", None)
    shown = Deployed(make_release(), "process", True, 1.0, 0.0, endpoint, key, None, None)
    show_deployed(replace(shown, ca_file=Path("/ca.crt")))
    (line,) = re.findall(r"^try +(.*)", capsys.readouterr().out, re.MULTILINE)
    script = 'curl() { printf "%s\\n" "$@"; cat; }; ' + line
    told = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    *words, header = told.stdout.splitlines()
    assert words[:4] == ["--cacert", "/ca.crt", "https://h/v1/completions", "-H"]
    assert json.loads(words[-1])["model"] == "it's $(id)"
    assert header == "Authorization: Bearer the-key"


@pytest.mark.parametrize(("context", "more"), [(None, ""), ("lab", " --context lab")])
def test_what_to_do_next_is_done_in_the_same_cluster(make_release, capsys, context, more):
    release = make_release()
    spec = release.spec.model_copy(update={"context": context})
    release = release.model_copy(update={"spec": spec})
    inside = "http://chat.llm.svc:8000"
    endpoint = Endpoint("http://127.0.0.1:1", "m", None, inside=inside)
    show_deployed(Deployed(release, "kubernetes", True, 1.0, 0.0, endpoint, None, None, None))
    out = capsys.readouterr().out
    assert f"deployctl smoke {release.service} --namespace llm{more}\n" in out


def test_a_load_test_within_shows_how_far_it_is(capsys):
    lines = said(
        capsys,
        Event("note", "verifying chat-candidate"),
        Event("phase", "2 users", SETUP),
        Event("progress", "", Progress(6.0, 2, 9, 0, 90)),
        Event("note", "it holds"),
        load=LoadProgress(),
    )
    assert lines[:2] == ["  verifying chat-candidate", "2 users"]
    assert lines[2].startswith("measuring 6/")
    assert lines[3] == "  it holds"


def test_what_a_verification_says_does_not_set_the_clock_of_the_rollout_back(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(rolloutprogress.time, "monotonic", lambda: now[0])
    with RolloutProgress() as tell:
        for text in ("chat: m on l4, target process", "also: itl_p95 missed"):
            tell(Event("heading", text))
            now[0] += 60.0
            tell(Event("phase", "starting the engine"))
    assert re.findall(r"after (\d) min", capsys.readouterr().err) == ["1", "2"]
