"""`deployctl top` as a user runs it: once in a pipe, and live in a terminal."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import ports
from process_parts import write_checkpoint

DEPLOYCTL = [sys.executable, "-m", "deployctl"]
PATIENCE_S = 60.0  # on a machine that does other things too


@pytest.fixture
def services(fake_engine, tmp_path, monkeypatch, run):
    """Two services with a fake engine each, of which the first has a key."""
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DEPLOYCTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_ENGINE_TOKEN_S", "0.002")
    model = write_checkpoint(tmp_path / "tiny")
    at = {}
    for name in ("chat", "embed"):
        at[name] = ports.free()
        words = ("--gpu", "cpu", "--enforce-eager", "--name", name, "--port", str(at[name]))
        run("up", "--model", str(model), "--target", "process", *words)
    key = run("keys", "add", "chat", "alice", "--target", "process").strip()
    yield at["chat"], key
    for name in at:
        run("down", name, "--target", "process", code=None)


@pytest.fixture
def run():
    def run(*words, code=0):
        done = subprocess.run([*DEPLOYCTL, *words], capture_output=True, text=True, timeout=300)
        assert code in (None, done.returncode), done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    return run


@pytest.fixture
def load(services):
    """Asks without a pause, with a key and with a wrong one, until the test is over."""
    port, key = services
    over = threading.Event()

    def ask(credential):
        body = {"model": "tiny", "prompt": "a", "max_tokens": 20, "stream": True}
        head = {"Content-Type": "application/json", "Authorization": f"Bearer {credential}"}
        url = f"http://127.0.0.1:{port}/v1/completions"
        while not over.wait(0.02):
            request = urllib.request.Request(url, json.dumps(body).encode(), head)
            try:
                with urllib.request.urlopen(request) as answer:
                    answer.read()
            except urllib.error.HTTPError as error:
                error.close()

    threads = [threading.Thread(target=ask, args=(given,)) for given in (key, "wrong")]
    for thread in threads:
        thread.start()
    yield
    over.set()
    for thread in threads:
        thread.join()


def kill(service):
    """Ends its engine, and what would start it again."""
    folder = Path(os.environ["DEPLOYCTL_STATE_DIR"]) / "process" / service / "runs" / "000001"
    for name in ("supervisor.json", "engine.json"):
        os.kill(json.loads((folder / name).read_text())["pid"], signal.SIGKILL)


@pytest.mark.usefixtures("load")
def test_once_in_a_pipe(run):
    words = ("top", "--target", "process", "--interval", "5s")
    document = json.loads(run(*words, "--output", "json"))
    chat, embed = document["services"]
    assert (chat["health"], embed["health"]) == ("serving", "serving")
    assert chat["figures"]["generation_tokens_per_s"] > 0
    assert chat["figures"]["ttft_s"]["observed"] > 0
    assert embed["figures"]["generation_tokens"] == 0
    assert chat["changed"]["reason"] == "up"
    keys = {use["key"]: use for use in chat["keys"]}
    assert keys["alice"]["output_tokens"] > 0
    assert keys["-"]["refused"]["no_key"] > 0
    assert embed["keys"] == []
    kill("embed")
    shown = run(*words, code=4).splitlines()
    assert shown[1].split()[:2] == ["chat", "serving"]
    assert shown[2].split()[:2] == ["embed", "dead"]


@pytest.mark.usefixtures("load")
def test_live_in_a_terminal():
    process, fd = pty.fork()
    if process == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS="120", LINES="40")
        os.execv(sys.executable, [*DEPLOYCTL, "top", "--target", "process", "--interval", "1s"])
    shown = ""

    def until(*words):
        nonlocal shown
        deadline = time.monotonic() + PATIENCE_S
        while not all(word in shown for word in words):
            assert time.monotonic() < deadline, shown[-4000:]
            shown += os.read(fd, 65536).decode("utf-8", "replace")

    until("2 of 2 services serve", "█")
    shown = ""
    os.write(fd, b"\r")
    until("http://127.0.0.1:", "alice", "no_key", "TTFT p95")
    shown = ""
    os.write(fd, b"\x1b")
    until("2 of 2 services serve")
    kill("embed")
    until("1 of 2 services serve", "dead")
    os.write(fd, b"q")
    until("\x1b[?1049l")  # the screen that was there before
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    os.close(fd)
