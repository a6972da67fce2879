"""An engine that dies or hangs on target `process` serves again without anybody's doing.

The engine is the fake one: it hangs and dies as it is told. test_process.py has the real one.
"""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.request

from deployctl import assets
from process_shell import PATIENCE_S, until

QUICK = ("--watchdog", "stall=3")


STREAM = json.dumps({"model": "tiny", "prompt": "Hello", "max_tokens": 3, "stream": True})


def serves_again(shell, pid):
    """What `status` says once another engine serves."""

    def other():
        status = shell.status()
        return status if status["health"] == "serving" and status["pid"] != pid else None

    return until(other)


def log(shell):
    return shell.run("logs", "tiny")[1]


def test_a_killed_engine_serves_again_and_leaves_none_of_its_children(shell):
    assert shell.up(children="1")[0] == 0
    before = shell.status(0)
    assert (before["restarts"], before["restarted"], before["restart_why"]) == (0, None, "")
    family = set(shell.left())
    os.kill(before["pid"], signal.SIGKILL)
    status = serves_again(shell, before["pid"])
    assert (status["restarts"], status["restart_why"]) == (1, "killed by signal 9 (SIGKILL)")
    assert status["restarted"].endswith("+00:00")
    assert status["revision"] == 1
    assert len(family & set(shell.left())) == 1  # the supervisor lives on
    said = shell.run("status", "tiny")[2]
    assert f"started again once, last at {status['restarted']}: killed by signal 9" in said
    assert "deployctl: the engine is started again in 1 s: killed by signal 9" in log(shell)
    until(lambda: "deployctl: the engine serves again" in log(shell))
    assert shell.run("down", "tiny")[0] == 0
    assert shell.left() == []


def test_one_that_does_not_answer_any_more_is_ended_and_started_again(shell):
    assert shell.up(*QUICK, children="1")[0] == 0
    pid = shell.status(0)["pid"]
    os.kill(pid, signal.SIGSTOP)
    status = serves_again(shell, pid)
    assert status["restart_why"].startswith("it hung: no answer (")
    assert f"deployctl: the engine is ended: {status['restart_why']}" in log(shell)


def test_one_that_answers_and_makes_no_token_is_ended_and_one_that_loads_long_is_not(
    shell, tmp_path
):
    """Its /health says 200 all the while."""
    hold = tmp_path / "loaded"
    hold.touch()
    assert shell.up(*QUICK, token_s="600", hold=hold)[0] == 0
    pid = shell.status(0)["pid"]
    hold.unlink()  # so the next one loads until it is there again
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", shell.port)) as waiting:
        waiting.request("POST", "/v1/completions", STREAM, {"Content-Type": "application/json"})
        until(lambda: log(shell).count("Starting to load") == 2)
    loading = shell.status(4)
    assert (loading["health"], loading["restarts"]) == ("silent", 1)
    assert "it hung: 1 requests and no progress for" in loading["detail"]
    hold.touch()
    status = serves_again(shell, pid)
    assert status["restarts"] == 1


def test_after_so_many_times_an_hour_it_gives_up_and_says_so(shell):
    assert shell.up("--watchdog", "restarts=1")[0] == 0
    for number in (1, 2):
        pid = shell.status(0)["pid"]
        os.kill(pid, signal.SIGKILL)
        if number == 1:
            serves_again(shell, pid)
            until(lambda: "the engine serves again" in log(shell))
    until(lambda: shell.status()["health"] == "dead")
    dead = shell.status(4)
    last_word = "killed by signal 9 (SIGKILL); started again once in an hour, and no more"
    assert dead["detail"] == last_word
    assert dead["log_tail"][-1] == f"deployctl: the engine ended: {last_word}"
    assert shell.left() == []
    [events] = shell.state.rglob("events.jsonl")
    kinds = [json.loads(line)["event"] for line in events.read_text().splitlines()]
    assert kinds == ["restart", "gave-up"]
    assert shell.up("--watchdog", "restarts=1")[0] == 0
    assert shell.status(0)["restarts"] == 0  # of the new one


# An engine as a container's: it says when its watchdog looks at it, and ends when it is told to.
SERVER = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            os._exit(0)
        print("asked for", self.path, flush=True)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_in_a_container_it_stays_once_it_has_given_up(tmp_path, free_port):
    """Docker would start it again, and the count would begin anew."""
    parent = assets.path("deploy", "door", "engine_parent.py")
    told = {"port": free_port, "events": str(tmp_path / "events"), "restarts": 1, "stays": True}
    (tmp_path / "engine.py").write_text(SERVER)
    words = [sys.executable, "-I", "-S", parent, json.dumps(told)]
    words += [sys.executable, tmp_path / "engine.py", str(free_port)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:

        def says(text):
            while text not in (line := process.stdout.readline()):
                assert line, f"it ended without saying: {text}"

        def die():
            says("asked for /health")
            with contextlib.suppress(OSError, http.client.HTTPException):
                urllib.request.urlopen(f"http://127.0.0.1:{free_port}/die", timeout=PATIENCE_S)

        try:
            says("asked for /health")  # by the next one it is known to have served
            die()
            says("the engine is started again in 1 s: exit code 0")
            says("the engine serves again")
            die()
            says("the engine ended: exit code 0; started again once in an hour, and no more")
            assert process.poll() is None
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
