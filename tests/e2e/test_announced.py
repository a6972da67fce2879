"""What Grafana, a Pushgateway and node-exporter are told by real verbs: the first two are a small
server here that writes down what came, the engine is a fake."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import ports
from process_parts import write_checkpoint


class Recorder(BaseHTTPRequestHandler):
    """Answers as both do; a test looks at `came`."""

    came: list

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.came.append((self.command, self.path, self.headers.get("Authorization"), body))
        self.send_response(200)
        self.end_headers()

    do_PUT = do_POST  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def came(monkeypatch, tmp_path):
    Recorder.came = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    (tmp_path / "token").write_text("glsa_1\n")
    (tmp_path / "textfiles").mkdir()
    for name, value in {
        "GRAFANA_URL": url, "GRAFANA_TOKEN_FILE": tmp_path / "token", "PUSHGATEWAY_URL": url,
        "COMMIT": "1f2e", "TEXTFILE_DIR": tmp_path / "textfiles",
        "STATE_DIR": tmp_path / "state", "CACHE_DIR": tmp_path / "cache",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"DEPLOYCTL_{name}", str(value))
    yield Recorder.came
    server.shutdown()
    thread.join()
    server.server_close()


def run(*words, code=0):
    command = [sys.executable, "-m", "deployctl", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    assert "was not told" not in done.stderr
    return done


@pytest.mark.usefixtures("fake_engine")
def test_a_release_a_load_test_and_a_failed_release_are_told(came, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_ENGINE_TOKEN_S", "0.002")
    monkeypatch.chdir(tmp_path)
    model, port = write_checkpoint(tmp_path / "tiny"), ports.free()
    up = ("up", "--model", model, "--target", "process", "--gpu", "cpu", "--enforce-eager",
          "--name", "chat", "--port", port)  # fmt: skip
    run(*up)
    try:
        run("loadtest", "chat", "--users", 1, "--requests", 3, "--out", "result")
        run(*up, "--env", "FAKE_ENGINE_DIE_LOADING=3", code=4)
    finally:
        run("down", "chat", "--target", "process")
    told = [(path, *json.loads(body)["tags"]) for verb, path, _, body in came if verb == "POST"]
    assert told == [
        ("/api/annotations", "deployctl", "release", "chat", "revision-1"),
        ("/api/annotations", "deployctl", "loadtest", "chat"),
        ("/api/annotations", "deployctl", "release", "chat", "revision-2", "failed"),
    ]
    assert {key for verb, _, key, _ in came if verb == "POST"} == {"Bearer glsa_1"}
    (pushed,) = [(path, body) for verb, path, _, body in came if verb == "PUT"]
    assert pushed[0] == "/metrics/job/deployctl_loadtest/commit/1f2e/service/chat"
    files = {file.name: file.read_text() for file in (tmp_path / "textfiles").iterdir()}
    assert files["deployctl_loadtest_chat.prom"].encode() == pushed[1]
    page = files["deployctl_release_process_chat.prom"]
    assert 'deployctl_release_revision{service="chat",target="process"} 0.0' in page  # it is down
    assert len(files) == 2
