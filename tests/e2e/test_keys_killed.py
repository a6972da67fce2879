"""keys add and revoke, killed at random moments, and many at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployctl.targets import keyfile
from deployctl.targets.store import Store
from keys_parts import Service

KILLED = Path(__file__).parents[1] / "killed_keys.py"


def test_whenever_it_is_killed_the_old_or_the_new_keys_are_there(tmp_path, make_release):
    Service(Store(tmp_path / "state"), make_release).begins(expose=True)
    done = subprocess.run(
        [sys.executable, KILLED, tmp_path / "state", "40"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changes"] >= 40


ADD = """
import sys
from pathlib import Path
from deployctl.operations.keys.manage import add_key
from deployctl.targets import keys
keys.SEEN_S = 0.0
file = None if sys.argv[2] == "-" else Path(sys.argv[2])
input()
for number in range(15):
    add_key(None if file else "tiny", f"{sys.argv[1]}-{number}", file=file)
"""


@pytest.mark.parametrize("where", ["-", "keys.json"])
def test_of_those_who_add_keys_at_once_none_loses_one(tmp_path, make_release, where):
    Service(Store(tmp_path / "state"), make_release).begins(expose=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "DEPLOYCTL_STATE_DIR": str(tmp_path / "state"),
    }
    adding = [
        subprocess.Popen(
            [sys.executable, "-c", ADD, name, where],
            stdin=subprocess.PIPE,
            cwd=tmp_path,
            env=environment,
        )
        for name in "abc"
    ]
    for process in adding:
        process.stdin.write(b"\n")
        process.stdin.close()
    assert [process.wait(timeout=300) for process in adding] == [0, 0, 0]
    folder = tmp_path if where == "keys.json" else tmp_path / "state" / "process" / "tiny"
    names = {key.name for key in keyfile.read(folder / "keys.json").keys}
    assert names == {f"{name}-{number}" for name in "abc" for number in range(15)}
