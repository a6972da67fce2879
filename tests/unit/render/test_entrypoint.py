"""What starts the engine in a container, run for real with a python3 that only tells."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest

from deployctl import assets

PARENT = assets.path("deploy", "door", "engine_parent.py")
CHART = assets.path("charts", "vllm", "files", "entrypoint.sh").read_text()
NOBODY = 9  # a port of loopback where nobody listens
LONGEST_S = 60  # far more than any of it takes
FAKE = """#!/bin/sh
if [ "$2" = deployctl_door ]; then
  echo "the door is tried" >&2
  exit "${DOOR_SAYS:-0}"
fi
for word in "$@"; do echo "<$word>"; done
"""


# An engine that says when it is there, and ends as it is told: by a signal, or by a word.
LOADING = """#!/bin/sh
[ "$2" = deployctl_door ] && exit 0
echo loading
exec cat FIFO
"""
SERVING = """#!/bin/sh
[ "$2" = deployctl_door ] && exit 0
trap 'trap "" TERM; echo drains; read -r word < FIFO; exit "$word"' TERM
echo serves
while :; do read -r nothing < NEVER; done
"""


# The door, tried by the Python that runs the watchdog.
DOOR = """import os, sys
print("the door is tried", file=sys.stderr)
sys.exit(int(os.environ.get("DOOR_SAYS", 0)))
"""


def chart(folder):
    """The words before the engine's own, as the chart has them."""
    return ["/bin/sh", "-c", CHART, "deployctl-engine"]


def compose(folder):
    """The same as a Compose project has them."""
    told = {"port": NOBODY, "events": str(folder / "events"), "token": str(folder / "token")}
    words = [sys.executable, "-I", "-S", str(PARENT), json.dumps(told)]
    return [*words, "python3", "-m", "vllm.entrypoints.openai.api_server"]


def put(folder, text):
    """A python3 of the test's, first in PATH."""
    python = folder / "python3"
    for name in ("FIFO", "NEVER"):
        if name in text:
            os.mkfifo(folder / name)
            text = text.replace(name, str(folder / name))
    python.write_text(text)
    python.chmod(0o755)
    door = folder / "deployctl_door"
    door.mkdir()
    (door / "__main__.py").write_text(DOOR)
    return {"PATH": f"{folder}:{os.defpath}", "PYTHONPATH": str(folder)}


@pytest.fixture(params=[compose, chart])
def start(tmp_path, request):
    """Runs a script to its end."""
    path = put(tmp_path, FAKE)

    def run(*words, **environment):
        return subprocess.run(
            [*request.param(tmp_path), *words],
            capture_output=True,
            text=True,
            env={**path, **environment},
            timeout=LONGEST_S,
        )

    return run


@pytest.fixture
def started(tmp_path):
    """Starts either before an engine of the test's, and leaves none of it."""
    running = []

    def begin(engine, words=chart):
        process = subprocess.Popen(
            words(tmp_path),
            stdout=subprocess.PIPE,
            text=True,
            env=put(tmp_path, engine),
            process_group=0,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(LONGEST_S)
        process.stdout.close()


def test_it_does_not_start_behind_a_door_that_does_not_open(start):
    done = start(DOOR_SAYS="78")
    assert done.returncode == 78
    assert "the door is tried" in done.stderr
    assert not done.stdout


def test_arguments_pass_through_whole(start):
    words = ["a b", "$HOME", "`id`", "", "'", "*"]
    shown = start(*words).stdout.splitlines()
    assert shown == ["<-m>", "<vllm.entrypoints.openai.api_server>", *(f"<{w}>" for w in words)]


@pytest.mark.parametrize("words", [compose, chart])
def test_an_engine_that_loads_and_has_no_handler_ends_at_once(started, words):
    process = started(LOADING, words)
    assert process.stdout.readline() == "loading\n"
    process.terminate()
    assert process.wait(LONGEST_S) == 128 + signal.SIGTERM
    assert process.stdout.read() == "", "nothing has it open any more: the engine ended too"


@pytest.mark.parametrize("words", [compose, chart])
def test_an_engine_that_drains_is_waited_for_however_often_it_is_told(started, tmp_path, words):
    process = started(SERVING, words)
    assert process.stdout.readline() == "serves\n"
    process.terminate()
    assert process.stdout.readline() == "drains\n"
    process.terminate()
    (tmp_path / "FIFO").write_text("5\n")
    assert process.wait(LONGEST_S) == 5


@pytest.mark.parametrize("words", [compose, chart])
def test_an_engine_that_ends_by_itself_before_it_was_ready_is_not_held(started, words):
    process = started("#!/bin/sh\n[ $2 = deployctl_door ] && exit 0\nexit 7\n", words)
    assert process.wait(LONGEST_S) == 7
