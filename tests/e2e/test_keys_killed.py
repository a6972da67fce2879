"""keys add and revoke, killed at random moments, and many at once."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deployctl.operations.keys.manage import list_keys
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


def test_of_many_at_once_none_is_lost(tmp_path, make_release, cli):
    Service(Store(cli.state), make_release).begins(expose=True)
    names = [f"key-{number}" for number in range(4)]
    with ThreadPoolExecutor(len(names)) as pool:
        keys = list(pool.map(lambda name: cli("keys", "add", "tiny", name).stdout, names))
    assert len(set(keys)) == len(names)
    listed = {key["name"] for key in cli.json("keys", "list", "tiny")["keys"]}
    assert listed == {"default", *names}
    file = tmp_path / "keys.json"
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: cli("keys", "add", "--file", file, name), names))
    assert {key.name for key in list_keys(file=file).keys} == set(names)
