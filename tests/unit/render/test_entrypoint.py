"""The script that gives the engine its secrets, run for real with a python3 that only tells."""

import os
import subprocess

import pytest

from deployctl import assets

SCRIPT = assets.path("deploy", "compose", "entrypoint.sh").read_text()
FAKE = '#!/bin/sh\necho "key=${VLLM_API_KEY-unset}"\nfor word in "$@"; do echo "<$word>"; done\n'


@pytest.fixture
def start(tmp_path):
    """Runs the script with /run/secrets in a folder of the test's."""
    python = tmp_path / "python3"
    python.write_text(FAKE)
    python.chmod(0o755)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    script = SCRIPT.replace("/run/secrets", str(secrets))

    def run(*words, key=None, **environment):
        if key is not None:
            (secrets / "api_key").write_text(key)
        return subprocess.run(
            ["/bin/sh", "-c", script, "deployctl-engine", *words],
            capture_output=True,
            text=True,
            env={"PATH": f"{tmp_path}:{os.defpath}", **environment},
        )

    return run


def test_without_a_key_the_engine_starts_without_one(start):
    assert "key=unset" in start().stdout


def test_the_key_reaches_the_environment_and_no_argument(start):
    done = start("--port", "8000", key="s3cret\n")
    assert "key=s3cret\n" in done.stdout
    assert "<s3cret>" not in done.stdout


@pytest.mark.parametrize("key", [None, ""])
def test_it_does_not_start_without_a_key_that_it_must_have(start, key):
    done = start(key=key, API_KEY_REQUIRED="1")
    assert done.returncode == 78
    assert "secrets/api_key" in done.stderr
    assert not done.stdout


def test_arguments_pass_through_whole(start):
    words = ["a b", "$HOME", "`id`", "", "'", "*"]
    shown = start(*words).stdout.splitlines()[1:]
    assert shown == ["<-m>", "<vllm.entrypoints.openai.api_server>", *(f"<{w}>" for w in words)]
