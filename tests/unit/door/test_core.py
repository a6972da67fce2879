"""Whether vLLM's core lives, as the door sees it before vLLM itself does."""

import os
import subprocess
import sys
from pathlib import Path

import deployctl_door

SCRIPT = """
import os, resource, subprocess, sys
from types import SimpleNamespace as Some
from deployctl_door.vllm import Middleware

core = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
resources = Some(engine_manager=Some(processes=[core]))
client = Some(errored=False, engine_core=Some(resources=resources))
door = Middleware(lambda *_: None)
dead = lambda: door._is_dead({"app": Some(state=Some(engine_client=client))})
print("lives", dead())
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
print("no file to be opened", dead())
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
core.kill()
os.waitid(os.P_PID, core.pid, os.WEXITED | os.WNOWAIT)
print("has ended", dead())
print("ended with", core.wait())
print("was reaped", dead())
client.errored = True
resources.engine_manager = None
print("errored", dead())
client.errored = False
print("elsewhere", dead())
del client.engine_core
print("of another release", dead())
"""


def test_a_core_that_has_ended_takes_nothing_more(configure, tmp_path):
    configure(keyless=True)
    door = Path(deployctl_door.__file__).parents[1]
    given = {"DEPLOYCTL_DOOR": str(tmp_path / "door.json"), "PYTHONPATH": str(door)}
    told = subprocess.run(
        (sys.executable, "-c", SCRIPT),
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == [
        "lives False",
        "no file to be opened False",
        "has ended True",
        "ended with -9",  # whoever started it hears of it
        "was reaped True",
        "errored True",
        "elsewhere False",
        "of another release False",
    ]
