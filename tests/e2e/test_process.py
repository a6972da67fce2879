"""A service's whole life on target `process`, with the real vLLM and real checkpoints."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.e2e.engine_cache import knowing

from deployctl.targets.process import procfs

pytestmark = pytest.mark.vllm

START_S = 600.0  # half a minute on two idle cores


class Operator:
    """Runs `deployctl … --output json` and reads what it answers."""

    def __init__(self, folder, port, cache):
        self.state = folder / "state"
        self.port = port
        self.environment = {
            **os.environ,
            "DEPLOYCTL_STATE_DIR": str(self.state),
            "DEPLOYCTL_CACHE_DIR": str(cache),
            "NO_COLOR": "1",
        }
        self.story = ""

    def __call__(self, *words, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "deployctl", *map(str, words), "--output", "json"],
            env=self.environment, capture_output=True, text=True, timeout=START_S,
        )  # fmt: skip
        self.story = done.stderr
        assert code in (None, done.returncode), done.stderr
        return json.loads(done.stdout) if done.stdout else None

    def up(self, model, *words, code=0):
        fixed = ["--gpu", "cpu", "--port", self.port, "--name", "real", "--enforce-eager"]
        answer = self("up", "--model", model, *fixed, *words, code=code)
        return answer["services"][0] if answer else None

    def status(self, code=0):
        return self("status", "real", code=code)["services"][0]

    def core(self):
        """The process that has the model: the API server's child of that name."""
        comm = {who.pid: Path(f"/proc/{who.pid}/comm").read_text() for who in self.family()}
        (core,) = [pid for pid, name in comm.items() if name.startswith("VLLM::EngineCor")]
        return core

    def serves_again(self, before):
        """What status says once another engine than `before` serves."""
        deadline = time.monotonic() + START_S
        while True:
            status = self("status", "real", code=None)["services"][0]
            if status["health"] == "serving" and status["pid"] != before["pid"]:
                return status
            assert time.monotonic() < deadline, status
            time.sleep(0.5)

    def family(self):
        """The supervisor and all that it runs: engine, core and workers."""
        members = []
        for file in self.state.rglob("supervisor.json"):
            document = json.loads(file.read_text())
            who = procfs.Identity(document["pid"], document["start"])
            members += [who, *procfs.descendants(who)]
        return members


@pytest.fixture
def operator(tmp_path, free_port, checkpoint_cache):
    cache = knowing(tmp_path / "cache", checkpoint_cache, "real")
    made = Operator(tmp_path, free_port, cache)
    yield made
    family = made.family()
    made("down", "--all")
    assert not [who for who in family if procfs.alive(who)]


def complete(service, prompt, tokens=8):
    body = {"model": service["model"], "prompt": prompt, "max_tokens": tokens, "temperature": 0}
    request = urllib.request.Request(
        service["url"] + "/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=START_S) as response:
        return json.load(response)["choices"][0]["text"]


def gone(members, patience=120.0):
    deadline = time.monotonic() + patience
    while left := [who for who in members if procfs.alive(who)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_the_life_of_an_awq_service(operator, awq_checkpoint):
    service = operator.up(awq_checkpoint)
    assert (service["revision"], service["changed"]) == (1, True)
    for phase in ("starting the engine", "loading weights", "warming up", "opening the server"):
        assert phase in operator.story
    assert "compiling" not in operator.story  # --enforce-eager
    assert "Paris" in complete(service, "The capital of France is")

    status = operator.status()
    assert status["health"] == "serving"
    assert status["memory_bytes"] > 500 * 1024 * 1024
    family = operator.family()
    assert len(family) >= 4  # supervisor, API server, engine core, worker

    again = operator.up(awq_checkpoint)
    assert (again["revision"], again["changed"]) == (1, False)
    assert operator.status()["pid"] == status["pid"]

    # Its core is killed: it serves again without anybody's doing.
    os.kill(operator.core(), signal.SIGKILL)
    gone(family[1:])  # all but the supervisor
    again = operator.serves_again(status)
    assert again["restarts"] == 1
    assert "Paris" in complete(service, "The capital of France is")

    # An update after that, and the former revision can be brought back.
    service = operator.up(awq_checkpoint, "--max-model-len", 512)
    assert (service["revision"], service["changed"]) == (2, True)
    assert "Paris" in complete(service, "The capital of France is")
    back = operator("rollback", "real")
    assert (back["revision"], back["changed"]) == (3, True)
    assert "Paris" in complete(back, "The capital of France is")
    revisions = operator("history", "real")["revisions"]
    assert [r["status"] for r in revisions] == ["superseded", "superseded", "deployed"]
    assert revisions[0]["digest"] == revisions[2]["digest"]

    family = operator.family()
    assert operator("down", "real")["services"][0]["stopped"] == [3]
    assert not [who for who in family if procfs.alive(who)]
    assert not list(Path("/dev/shm").glob(f"*{family[0].pid}*"))


@pytest.mark.night
def test_a_core_that_hangs_is_found_ended_and_started_again(operator, tiny_checkpoint):
    service = operator.up(tiny_checkpoint, "--watchdog", "stall=10")
    before, core = operator.status(), operator.core()
    os.kill(core, signal.SIGSTOP)
    begun = time.monotonic()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(complete, service, "Hello", 3)
        while "is ended: it hung" not in Path(before["log"]).read_text():
            assert time.monotonic() - begun < 60
            time.sleep(0.2)
        waiting.exception()  # it may or may not have been told that there is no answer
    again = operator.serves_again(before)
    assert again["restart_why"].startswith("it hung: 1 requests and no progress for 1")
    assert complete(service, "Hello", 3)


def test_a_gptq_service_and_an_update_that_fails(operator, gptq_checkpoint):
    service = operator.up(gptq_checkpoint, "--expose")
    key = Path(service["api_key_file"]).read_text()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        complete(service, "Hello")
    assert operator.status()["health"] == "serving"  # it asks with the key
    for who in operator.family():
        assert key.encode() not in Path(f"/proc/{who.pid}/cmdline").read_bytes()
    assert key not in Path(service["log"]).read_text()

    # A KV cache that no machine holds: the engine itself refuses, and says so.
    operator.up(gptq_checkpoint, "--expose", "--env", "VLLM_CPU_KVCACHE_SPACE=1000000", code=4)
    assert "error: the engine died" in operator.story
    assert "less free memory than the KV cache and the weights need" in operator.story
    assert "hint: lower kv_cache_gib" in operator.story
    assert "revision 1 serves again" in operator.story
    assert operator.status()["revision"] == 1
