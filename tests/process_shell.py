"""`deployctl` as a user runs it, with a fake engine and state of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployctl.targets.process import procfs
from deployctl.targets.process.command import MARKER
from process_parts import PYTHONPATH, write_checkpoint

PATIENCE_S = 180.0  # on a machine that does other things too


def carrying(state_dir):
    """Pids of all processes, supervisors included, that carry the marker of a run below here."""
    prefix = f"{MARKER}={state_dir}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(e.startswith(prefix) for e in environment) and procfs.identify(int(entry.name)):
                found.append(int(entry.name))
    return found


class Shell:
    """Runs `deployctl` as a user would, with state of its own."""

    def __init__(self, folder, port):
        self.state = folder / "state"
        self.model = write_checkpoint(folder / "tiny")
        self.port = port
        self.environment = {
            **os.environ,
            "DEPLOYCTL_STATE_DIR": str(self.state),
            "DEPLOYCTL_CACHE_DIR": str(folder / "cache"),
            "PYTHONPATH": PYTHONPATH,
            "NO_COLOR": "1",
        }

    def start(self, *words, **more):
        return subprocess.Popen(
            [sys.executable, "-m", "deployctl", *map(str, words)],
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
        )  # fmt: skip

    def run(self, *words, **more):
        process = self.start(*words, **more)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in err, err
        return process.returncode, out, err

    def up_words(self, *words, **fake):
        env = [f"--env=FAKE_ENGINE_{name.upper()}={value}" for name, value in fake.items()]
        return ["up", "--model", self.model, "--gpu", "cpu", "--port", self.port, *env, *words]

    def up(self, *words, **fake):
        return self.run(*self.up_words(*words, **fake))

    def status(self, code=None):
        """What status says; `code` where its exit code is not to be just any."""
        got, out, err = self.run("status", "tiny", "--output", "json")
        assert code in (None, got), err
        return json.loads(out)["services"][0]

    def history(self):
        _, out, _ = self.run("history", "tiny", "--output", "json")
        return [(r["revision"], r["status"]) for r in json.loads(out)["revisions"]]

    def left(self):
        return carrying(self.state)

    def end(self):
        """Whatever a test came to, nothing of it runs on."""
        if self.left():
            self.run("down", "--all")
            assert self.left() == []


@pytest.fixture
def shell(tmp_path, free_port):
    made = Shell(tmp_path, free_port)
    yield made
    made.end()


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


def recorded(shell):
    """The pids of a run, once its engine is on record and has all its children."""
    until(lambda: list(shell.state.rglob("engine.json")))
    logs = shell.state.rglob
    until(lambda: any("Starting to load" in log.read_text() for log in logs("engine.log")))
    return shell.left()
