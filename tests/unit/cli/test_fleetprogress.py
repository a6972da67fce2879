"""What is said of twenty rollouts in a pipe: what became of each, and a summary now and then."""

import re

import pytest

from deployctl.cli import rolloutprogress
from deployctl.cli.rolloutprogress import FleetProgress
from deployctl.errors import ClusterError
from deployctl.events import Event
from deployctl.operations.deploy.deployed import Deployed
from deployctl.operations.deploy.fleet import NotDeployed

SERVICES = [f"s{number:02d}" for number in range(20)]


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(rolloutprogress.time, "monotonic", lambda: now[0])
    return now


def said(capsys):
    return capsys.readouterr().err.splitlines()


def test_twenty_are_told_in_a_line(clock, capsys):
    with FleetProgress(SERVICES) as progress:
        for service in SERVICES[:15]:
            progress.of(service)(Event("phase", f"{service}-5d8f7c9b6d-x2x4z: the engine starts"))
        clock[0] = 11.0
        progress.of("s15")(Event("phase", "helm upgrade"))
        progress.of("s16")(Event("phase", "helm upgrade"))
    waits = "15 × the engine starts, 4 × planned, 1 × helm upgrade"
    assert said(capsys) == [f"  0 serve, 20 under way after 11.0 s: {waits}"]


def test_what_became_of_each_and_a_warning_once(clock, capsys, make_release):
    with FleetProgress(SERVICES) as progress:
        for service in SERVICES[:3]:
            progress.of(service)(Event("warning", "little memory"))
        release = make_release().model_copy(update={"service": "s00"})
        progress.done(Deployed(release, "kubernetes", True, 41.0, 0.0, None, None, None, None))
        error = ClusterError("no card", where="values", hint="buy one")
        progress.done(NotDeployed("s01", "kubernetes", error))
        progress.done(NotDeployed("s02", "kubernetes", error))
        clock[0] = 11.0
        progress.of("s03")(Event("note", "x"))
    *lines, last = said(capsys)
    assert lines == [
        "warning: s00: little memory",
        "✓ s00 serves: revision 1, in 41.0 s",
        "✗ s01: no card",
        "   at: values",
        " hint: buy one",
        "✗ s02: no card",
    ]
    assert re.match(r"  1 serve, 2 failed, 17 under way", last)
