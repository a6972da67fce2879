"""Where the answer and the story go when nobody takes them: closed, full, or a reader that left."""

import os
import subprocess
import sys

import pytest

FULL = "error: cannot write: No space left on device\n   at: standard output\n hint: make room"
CLOSED = "error: standard output is closed: nobody would have the answer\n hint: send it to a file"


PROGRAM = "import sys; from deployctl.cli import console\\n"


def run(words, redirected, tmp_path):
    """The exit code of deployctl, and what it said."""
    state = {"DEPLOYCTL_STATE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    script = f'"$0" -m deployctl {words} {redirected}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable],
        capture_output=True,
        text=True,
        env={**os.environ, **state},
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("words", "redirected", "code", "said"),
    [
        ("profiles", ">&-", 2, CLOSED),
        ("profiles", ">&- 2>&-", 2, ""),
        ("profiles", "<&- 2>&-", 0, ""),
        ("profiles", ">/dev/full", 4, FULL),
        ("profiles --output json", ">/dev/full", 4, FULL),
        ("--help", ">/dev/full", 4, FULL),
        ("status nosuch --target process", "2>/dev/full", 2, ""),
        ("profiles", "2>&1 | true", 0, ""),
        ("profiles --output json", "| true", 0, ""),
        ("keys add --help", "| true", 0, ""),
        ("status nosuch --target process", "2>&1 | true", 2, ""),
    ],
)
def test_an_answer_that_nobody_takes(tmp_path, words, redirected, code, said):
    ended, err = run(words, redirected, tmp_path)
    assert (ended, err[: len(said)]) == (code, said)
    assert bool(err) == bool(said)


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def unread(request, tmp_path):
    """`unread(script)`: the exit code of a program that nobody reads."""

    def run(script):
        script = "import sys; from deployctl.cli import console\n" + script
        with subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": request.param},
        ) as process:
            process.stdout.close()
            process.stderr.close()
            return process.wait(timeout=60)

    return run


def test_an_endless_answer_ends_with_its_reader(unread):
    lines = "console.say('x'); console.out.print('y'); console.flush()"
    assert unread(f"for _ in range(10_000): {lines}") != 0


BREAKS = """
import errno, typer
from deployctl.cli import app
def broken(only):
    made = typer.Typer(pretty_exceptions_enable=False)
    @made.callback(invoke_without_command=True)
    def command():
        FOLLOWED
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    return made
app.build = broken
app.main()
"""


def test_an_answer_that_is_followed_ends_well_with_its_reader(unread):
    follows = "while True: console.say('x'); console.flush()"
    assert unread(BREAKS.replace("FOLLOWED", follows)) == 0


@pytest.mark.parametrize("debug", ["", "1"])
def test_a_broken_pipe_of_something_else_is_no_good_end(debug):
    """A verb that talks to a socket or a FIFO ended with 0, and without a word."""
    done = subprocess.run(
        [sys.executable, "-c", BREAKS.replace("FOLLOWED", "print('answer')")],
        capture_output=True,
        text=True,
        env={**os.environ, "DEPLOYCTL_DEBUG": debug},
        timeout=60,
    )
    said = "BrokenPipeError: [Errno 32] Broken pipe"
    assert (done.returncode, done.stdout) == (1, "answer\n")
    assert said in done.stderr
    assert ("Traceback" in done.stderr) == bool(debug)


def test_what_is_told_to_nobody_is_done(unread, tmp_path):
    lines = "console.story('x' * 5000); console.say('y' * 5000); console.out.print('z' * 5000)"
    unread(f"for _ in range(10): {lines}\nopen('file', 'w').write('done')")
    assert (tmp_path / "file").read_text() == "done"
