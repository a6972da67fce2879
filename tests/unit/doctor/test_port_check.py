"""Whose a port is, from facts alone."""

from dataclasses import replace

import pytest
from tests.unit.doctor.checks_parts import HOST, ON_DOCKER, check


@pytest.mark.parametrize(
    ("free", "service", "holder", "down", "status", "words"),
    [
        (True, None, None, False, "pass", "is free"),
        (True, None, "chat", True, "warn", "that of the service chat, which does not run"),
        (True, "code", "chat", True, "warn", "that of the service chat, which does not run"),
        (True, "chat", "chat", True, "pass", "is free"),
        (False, None, "chat", False, "pass", "is held by the service chat"),
        (False, "chat", "chat", False, "pass", "is held by the service chat"),
        (False, "code", "chat", False, "fail", "is held by the service chat"),
        (False, "chat", "chat", True, "fail", "in use; it is that of the service chat, which does"),
    ],
)
def test_whose_a_port_is_is_said_though_it_does_not_run(free, service, holder, down, status, words):
    facts = replace(HOST, port_free=free, port_error=None if free else "in use")
    asked = replace(ON_DOCKER, service=service, holder=holder, holder_down=down)
    found = check("port", facts, asked)
    assert (found.status, words in found.detail) == (status, True)
    assert ("deployctl down chat" in found.fix) is (
        service == "code" or (free and status == "warn")
    )


def test_a_port_that_our_own_service_holds_is_fine_and_so_is_none():
    facts = replace(HOST, port_free=False, port_error="in use")
    found = check("port", facts, replace(ON_DOCKER, holder="chat"))
    assert (found.status, "held by the service chat" in found.detail) == ("pass", True)
    # One in Docker's network has none of the machine's.
    found = check("port", replace(HOST, port_free=None), replace(ON_DOCKER, port=None))
    assert (found.status, found.fix) == ("pass", "")
