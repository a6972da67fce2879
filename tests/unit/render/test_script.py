"""run.sh of target process, as a person runs it; Python is a stand-in that has only the door."""

import os
import re
import subprocess
import sys

import pytest


@pytest.fixture
def folder(tmp_path, make_release):
    """`folder(expose=True)`: the rendered folder of a service."""

    def render(**spec):
        where = tmp_path / "it's rendered"
        for path, text in make_release(**spec).bundle.files.items():
            (where / path).parent.mkdir(parents=True, exist_ok=True)
            (where / path).write_text(text)
        return where

    return render


@pytest.fixture
def start(tmp_path):
    """Runs `sh run.sh`, or another command, in a folder, with a Python that shows what it is to
    run as the engine."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nif [ "$2" = deployctl_door ]; then exec {sys.executable} -S "$@"; fi\n'
        'echo "$DEPLOYCTL_DOOR"\nprintf "%s\\n" "$@"\n'
    )
    python.chmod(0o755)

    def call(where, *words, python=python):
        environment = {"PATH": os.environ["PATH"], "PYTHON": str(python)}
        return subprocess.run(
            words or ("sh", "run.sh"), cwd=where, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    return call


def test_on_loopback_it_runs_as_it_was_rendered(folder, start):
    where = folder()
    done = start(where)
    assert (done.returncode, done.stderr) == (0, "")
    configuration, *words = done.stdout.splitlines()
    assert configuration == str(where / "door" / "door.json")
    assert words[:2] == ["-m", "vllm.entrypoints.openai.api_server"]
    assert start(where.parent, "sh", f"{where.name}/run.sh").stdout == done.stdout


def test_exposed_without_a_key_it_says_so_and_where_to_read_on(folder, start):
    where = folder(expose=True)
    done = start(where)
    assert (done.returncode, done.stdout) == (78, "")
    wrong, hint = done.stderr.splitlines()
    assert wrong.startswith("deployctl: the door does not open: ")
    assert wrong.endswith("there is no key: neither api_key nor keys.json")
    assert hint == f"hint: see the beginning of {where}/run.sh"


@pytest.mark.parametrize("expose", [True, False])
def test_the_command_that_it_gives_makes_what_it_needs(folder, start, expose):
    where = folder(expose=expose)
    comment = re.search(r"^#   (for name .*\n#.*\n#   done)$", (where / "run.sh").read_text(), re.M)
    command = comment[1].replace("\n#", "\n")
    for _ in range(2):  # also over those that are there
        assert start(where, "sh", "-euc", command).stderr == ""
    made = {path.name: path.stat().st_mode & 0o777 for path in (where / "secrets").glob("[!.]*")}
    assert made == dict.fromkeys(["api_key"] * expose + ["operator_token"], 0o600)
    assert start(where).returncode == 0


def test_a_python_that_is_not_there_is_no_matter_of_keys(folder, start):
    done = start(folder(), python="/nowhere/python")
    assert done.returncode == 127
    assert "/nowhere/python" in done.stderr
    assert "hint" not in done.stderr


def test_what_a_start_leaves_is_not_committed(folder, start):
    where = folder()
    before = {path for path in where.rglob("*") if path.is_file()}
    start(where)
    made = {path for path in where.rglob("*") if path.is_file()} - before
    assert {path.name for path in made if path.parent.name != "__pycache__"} == {"probe_token"}
    ignored = (where / "door" / ".gitignore").read_text().split()
    made = {"/probe_token", "/drain", "/drain-under-way/", "/alive.json"}
    assert {*made, "__pycache__/"} == set(ignored)
