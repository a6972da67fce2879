"""The script that starts the engine in a container, run for real with a python3 that only tells."""

import os
import subprocess

import pytest

from deployctl import assets

SCRIPT = assets.path("deploy", "compose", "entrypoint.sh").read_text()
FAKE = """#!/bin/sh
if [ "$2" = deployctl_door ]; then
  echo "the door is tried" >&2
  exit "${DOOR_SAYS:-0}"
fi
for word in "$@"; do echo "<$word>"; done
"""


@pytest.fixture
def start(tmp_path):
    """Runs the script with a python3 of the test's."""
    python = tmp_path / "python3"
    python.write_text(FAKE)
    python.chmod(0o755)

    def run(*words, **environment):
        return subprocess.run(
            ["/bin/sh", "-c", SCRIPT, "deployctl-engine", *words],
            capture_output=True,
            text=True,
            env={"PATH": f"{tmp_path}:{os.defpath}", **environment},
        )

    return run


def test_it_does_not_start_behind_a_door_that_does_not_open(start):
    done = start(DOOR_SAYS="78")
    assert done.returncode == 78
    assert "the door is tried" in done.stderr
    assert not done.stdout


def test_arguments_pass_through_whole(start):
    words = ["a b", "$HOME", "`id`", "", "'", "*"]
    shown = start(*words).stdout.splitlines()
    assert shown == ["<-m>", "<vllm.entrypoints.openai.api_server>", *(f"<{w}>" for w in words)]
