"""The scripts that run inside the engine's image: liveness, download and `helm test`."""

import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deployctl import assets

METRICS = Path(__file__).resolve().parents[2] / "data" / "metrics" / "vllm-0.32.0.txt"
BUSY = """\
vllm:num_requests_running{engine="0",model_name="a } 9"} 2.0
vllm:num_requests_waiting{engine="0",model_name="a } 9"} 1.0
vllm:generation_tokens_total{engine="0",model_name="a } 9"} 100.0
vllm:kv_cache_usage_perc{engine="0",model_name="a } 9"} 0.5
"""


def load(name):
    path = assets.path("charts", "vllm", "files", name)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def served():
    """`served({("GET", "/health"): (200, "ok")})` answers so, and returns the port."""
    running = []

    def serve(answers):
        class Handler(BaseHTTPRequestHandler):
            def _answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                seen.append((self.command, self.path, self.headers, self.rfile.read(length)))
                status, text = answers.get((self.command, self.path), (404, ""))
                if callable(status):
                    status = status(self.headers)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = _answer  # noqa: N815

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return server.server_port

    seen = []
    serve.seen = seen
    yield serve
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def alive(tmp_path, monkeypatch):
    module = load("alive.py")
    monkeypatch.setattr(module, "STATE", str(tmp_path / "state.json"))
    monkeypatch.setattr(module, "engine_started", lambda: "1")
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    module.now = now
    return module


def page(text=BUSY, health=200):
    return {("GET", "/health"): (health, ""), ("GET", "/metrics"): (200, text)}


def test_real_metrics_are_read(alive):
    work, marks = alive.reading(METRICS.read_text())
    assert work == 0
    assert len(marks) >= 3


def test_an_engine_that_says_it_is_ill_is_dead(alive, served):
    assert alive.main(served(page(health=503)), 5, 60) == "/health says 503"


def test_an_idle_engine_may_stand_still(alive, served):
    port = served(page(BUSY.replace("2.0", "0.0").replace("1.0", "0.0")))
    for _ in range(3):
        assert alive.main(port, 5, 60) is None
        alive.now[0] += 1000


def test_a_busy_engine_that_stands_still_is_dead(alive, served):
    port = served(page())
    assert alive.main(port, 5, 60) is None
    alive.now[0] += 59
    assert alive.main(port, 5, 60) is None
    alive.now[0] += 2
    assert alive.main(port, 5, 60) == "3 requests and no progress for 61 s"


@pytest.mark.parametrize("change", [("100.0", "101.0"), ("0.5", "0.6")])
def test_a_token_or_a_filling_cache_is_progress(alive, served, change):
    answers = page()
    port = served(answers)
    assert alive.main(port, 5, 60) is None
    alive.now[0] += 61
    answers["GET", "/metrics"] = (200, BUSY.replace(*change))
    assert alive.main(port, 5, 60) is None
    alive.now[0] += 59
    assert alive.main(port, 5, 60) is None


def test_a_restart_begins_anew(alive, served, monkeypatch):
    port = served(page())
    assert alive.main(port, 5, 60) is None
    alive.now[0] += 61
    monkeypatch.setattr(alive, "engine_started", lambda: "2")
    assert alive.main(port, 5, 60) is None


def test_it_can_be_turned_off_and_does_without_metrics(alive, served):
    port = served({("GET", "/health"): (200, "")})
    assert alive.main(port, 5, 0) is None
    assert alive.main(port, 5, 60) is None
    assert [path for _, path, *_ in served.seen] == ["/health", "/health", "/metrics"]


def test_a_run_of_the_container_is_told_from_the_next():
    assert load("alive.py").engine_started().isdigit()


def test_the_smoke_test_passes_a_service_that_works_and_names_what_does_not(
    served, tmp_path, monkeypatch
):
    smoke = load("smoke.py")
    key = tmp_path / "key"
    key.write_text("s3cret\n")
    monkeypatch.setattr(smoke, "KEY_FILE", str(key))

    def keyed(headers):
        return 200 if headers.get("Authorization") == "Bearer s3cret" else 401

    answers = {
        ("GET", "/v1/models"): (keyed, json.dumps({"data": [{"id": "m"}]})),
        ("POST", "/v1/completions"): (keyed, json.dumps({"choices": [{"text": "hi"}]})),
    }
    port = served(answers)
    assert smoke.main("127.0.0.1", port, True) is None
    assert json.loads(served.seen[-1][3])["model"] == "m"
    answers["POST", "/v1/completions"] = (500, "{}")
    assert smoke.main("127.0.0.1", port, True) == "/v1/completions: 500"
    answers["GET", "/v1/models"] = (200, "{}")
    assert smoke.main("127.0.0.1", port, True) == "/v1/models without a key: 200, not 401"
    assert smoke.main("127.0.0.1", port, False) == "/v1/models: 200"


def test_a_download_is_marked_when_it_is_done_and_not_before(tmp_path, monkeypatch):
    download = load("download.py")
    token = tmp_path / "token"
    token.write_text("hf_x\n")
    monkeypatch.setenv("HF_TOKEN_PATH", str(token))
    monkeypatch.setattr(download, "WHERE", str(tmp_path / "marks"))
    asked = []

    def snapshot_download(model, **more):
        asked.append((model, more))
        if more["revision"] == "gone":
            raise OSError("gone")

    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(OSError, match="gone"):
        download.fetch("org/m", "gone", "abc")
    assert not (tmp_path / "marks").exists()
    sleeps = []

    def sleep(seconds):
        sleeps.append(seconds)
        download.fetch("org/m", "", "abc")

    monkeypatch.setattr(download.time, "sleep", sleep)
    download.wait("org/m", "abc")
    assert sleeps == [5]
    assert asked[-1] == ("org/m", {"revision": None, "token": "hf_x"})
