"""A real vLLM that has a model with sense, as `up` starts it: for tests that put load on it."""

import json
import os
import subprocess
import sys

KEY = "a-key-that-nobody-may-see"
START_S = 600.0


class Measured:
    """A service that runs, and `deployctl` with a state of its own."""

    name = "measured"

    def __init__(self, folder, checkpoint, port, cache, *words):
        """`cache` is deployctl's, of engines."""
        self.folder = folder
        self.environment = {
            **os.environ,
            "DEPLOYCTL_STATE_DIR": str(folder / "state"),
            "DEPLOYCTL_CACHE_DIR": str(cache),
            "NO_COLOR": "1",
        }
        (folder / "key").write_text(KEY)
        self(
            "up", "--model", checkpoint, "--gpu", "cpu", "--name", self.name, "--port", port,
            "--api-key-file", folder / "key", "--enforce-eager", *words,
        )  # fmt: skip
        self.url = f"http://127.0.0.1:{port}"

    def __call__(self, *words, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "deployctl", *map(str, words)],
            env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=START_S,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert KEY not in done.stdout + done.stderr
        return done

    def json(self, *words, code=0):
        return json.loads(self(*words, "--output", "json", code=code).stdout)

    def down(self):
        self("down", self.name)


class MeasuredInDocker:
    """The same in Docker, by a `Cli` of docker_parts."""

    def __init__(self, cli, *up):
        self._cli, self.again = cli, up
        cli.patience_s = START_S
        self(*up)

    def __call__(self, *words, code=0):
        return self._cli(*words, code=code)

    def json(self, *words):
        return json.loads(self(*words, "--output", "json").stdout)

    def down(self):
        self("down", self.name, "--volumes", code=None)
