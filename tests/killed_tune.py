"""Kills a tune (SIGKILL) at every moment, and goes on with it: what is left, as JSON.

A program of its own, so that it may fork: each run is a child. The moments are before and after
each call of the bench, and within each write to the study: before, half-way, before and after
it is on the disk.

python killed_tune.py FOLDER     prints {"undisturbed": …, "killed": [one a moment]}
"""

import json
import os
import signal
import sys
from pathlib import Path

from deployctl.errors import StateError
from deployctl.tuning import study as studies
from deployctl.tuning.events import Restarted, to_line
from deployctl.tuning.runner import Runner
from tune_parts import FakeBench, GridSearch, header

_write, _fsync = os.write, os.fsync


class Moments:
    """Counts moments, and ends the process at one of them."""

    def __init__(self, fatal):
        self.fatal = fatal
        self.passed = 0

    def __call__(self):
        self.passed += 1
        if self.passed == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)


class SurvivingBench(FakeBench):
    """Its engine is a file, which stays when the tune is killed, as a process would."""

    def __init__(self, place, moment):
        super().__init__()
        self.place = place
        self.moment = moment

    def start(self, wanted):
        self.moment()
        self.stop()
        self.place.write_text(str(wanted))
        found = super().start(wanted)
        self._note(f"start {wanted}")
        return found

    def measure(self, load, seconds, seed):
        self.moment()
        assert self.place.read_text() == str(self.running)
        found = super().measure(load, seconds, seed)
        self._note(f"measure {self.running} {load}")
        return found

    def stop(self):
        self.place.unlink(missing_ok=True)
        super().stop()

    def _note(self, call):
        with (self.place.parent / "calls").open("a") as calls:
            calls.write(call + "\n")
        self.moment()


def tune(folder, moment):
    def write(descriptor, content):
        if len(content) < 2:
            return _write(descriptor, content)
        moment()
        half = _write(descriptor, content[: len(content) // 2])
        moment()
        return half

    def fsync(_):
        # What is written survives a kill; the disk's own word takes time, and is for power cuts.
        moment()
        moment()

    os.write, os.fsync = write, fsync
    try:
        study = studies.opened(folder)
    except (StateError, studies.NotFoundError):
        study = studies.create(folder, header())
    runner = Runner(study, GridSearch(), SurvivingBench(folder / "engine", moment))
    runner.replay()
    answer = runner.run()
    os.write, os.fsync = _write, _fsync
    (folder / "answer").write_text(repr(answer))


def child(folder, fatal):
    """Runs one in a child; True if it was killed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            tune(folder, Moments(fatal))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0, f"killed at {fatal}: the run failed"
    return False


def left(folder):
    study = studies.opened(folder)
    calls = folder / "calls"
    return {
        "answer": (folder / "answer").read_text() if (folder / "answer").exists() else None,
        "done": [to_line(done) for done in study.done],
        "restarts": sum(isinstance(event, Restarted) for event in study.events),
        "calls": calls.read_text().splitlines() if calls.exists() else [],
        "engine": (folder / "engine").exists(),
        "server_s": study.server_s,
    }


def main(root):
    child(root / "undisturbed", 0)
    killed = []
    for fatal in range(1, 1000):
        folder = root / f"{fatal:03d}"
        folder.mkdir()
        if not child(folder, fatal):
            break
        try:
            before = left(folder)
        except StateError:
            before = None  # not even the header
        assert not child(folder, 0)
        killed.append({"moment": fatal, "before": before, "after": left(folder)})
    print(json.dumps({"undisturbed": left(root / "undisturbed"), "killed": killed}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
