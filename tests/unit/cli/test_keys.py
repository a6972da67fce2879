"""`deployctl keys`, as a user runs it, on a file of its own."""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from deployctl.cli.app import main
from deployctl.targets import keyfile


class Done(NamedTuple):
    stdout: str
    stderr: str


@pytest.fixture
def keys(tmp_path, monkeypatch, capsys):
    def run(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["deployctl", "keys", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        done = Done(*capsys.readouterr())
        assert ended.value.code == code, done.stderr
        return done

    monkeypatch.chdir(tmp_path)
    return run


def test_the_key_alone_is_the_answer(keys, tmp_path):
    done = keys("add", "--file", "keys.json", "alice", "--expires", "30d")
    key = done.stdout.removesuffix("\n")
    assert keyfile.read(tmp_path / "keys.json").find("alice").sha256 == keyfile.hash_of(key)
    assert key not in done.stderr
    assert "on stdout this once; what is kept is its hash" in done.stderr
    assert "expires 20" in done.stderr


def test_a_key_that_was_given_is_not_shown(keys, tmp_path):
    (tmp_path / "ci.key").write_text("a-key-of-my-own\n")
    done = keys("add", "--file", "keys.json", "ci", "--key-file", "ci.key")
    assert done.stdout == ""
    assert "a-key-of-my-own" not in done.stderr + (tmp_path / "keys.json").read_text()


def test_a_key_that_cannot_be_shown_says_that_it_is_lost(keys, monkeypatch):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("deployctl.cli.keys.sys.stdout", full)
        done = keys("add", "--file", "keys.json", "alice", code=4)
    assert done.stderr.count("error:") == 1
    assert "No space left on device" in done.stderr
    assert "revoke alice" in done.stderr


def test_documents(keys):
    added = json.loads(keys("add", "--file", "keys.json", "alice", "-o", "json").stdout)
    assert added["version"] == 1
    assert added["name"] == "alice"
    assert len(added["key"]) > 40
    listed = json.loads(keys("list", "--file", "keys.json", "-o", "json").stdout)
    assert [key["name"] for key in listed["keys"]] == ["alice"]
    assert added["key"] not in json.dumps(listed)
    revoked = json.loads(keys("revoke", "--file", "keys.json", "alice", "-o", "json").stdout)
    assert (revoked["name"], revoked["left"]) == ("alice", 0)


def test_the_table_has_each_key_on_a_line(keys):
    keys("add", "--file", "keys.json", "alice", "--note", "laptop", "--tokens-per-minute", "5000")
    keys("add", "--file", "keys.json", "bob", "--model", "a", "--model", "b", "--concurrent", "2")
    keys("revoke", "--file", "keys.json", "default")
    lines = [line.split("  ") for line in keys("list", "--file", "keys.json").stdout.splitlines()]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert rows[0] == ["NAME", "STATE", "EXPIRES", "CREATED", "MODELS", "LIMITS", "NOTE"]
    assert rows[1] == ["default", "revoked", "-", "-", "all", "-", "-"]
    assert rows[2][0:3] + rows[2][4:] == ["alice", "valid", "-", "all", "5000 tok/min", "laptop"]
    assert rows[3][4:] == ["a,b", "2 at once", "-"]


def test_a_file_from_elsewhere_does_not_write_to_the_terminal_as_it_likes(keys, tmp_path):
    entry = {"name": "a", "sha256": "0" * 64, "note": "\x1b[2J\nroot", "created": "\x1b]0;"}
    (tmp_path / "keys.json").write_text(json.dumps({"version": 1, "keys": [entry]}))
    listed = keys("list", "--file", "keys.json").stdout
    assert "\x1b" not in listed
    assert len(listed.splitlines()) == 2


def test_the_last_key_says_that_nobody_gets_in(keys):
    keys("add", "--file", "keys.json", "alice")
    done = keys("revoke", "--file", "keys.json", "alice")
    assert done.stdout.startswith("alice of ")
    assert "nobody gets in" in done.stderr
    assert "nobody gets in" in keys("list", "--file", "keys.json").stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "alice"), "say which service, and the key's name"),
        (("add", "tiny", "alice", "--file", "k"), "give the key's name alone"),
        (("add", "--file", "k", "alice", "--concurrent", "0"), "--concurrent"),
        (("add", "--file", "k", "alice", "--note", "x" * 201), "--note"),
        (("rvoke", "tiny", "alice"), "no such command 'rvoke'"),
        (("revoke", "tiny", "alice", "--target", "process"), "there is no service 'tiny'"),
    ],
)
def test_bad_input_is_said(keys, words, said):
    done = keys(*words, code=2)
    assert said in done.stderr
    assert done.stdout == ""
