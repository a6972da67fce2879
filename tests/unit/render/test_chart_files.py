"""The scripts that run inside the engine's image: `helm test`, download, and what is shared."""

import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deployctl import assets
from deployctl.render.values.pods import Probes

FILES = assets.path("charts", "vllm", "files")
ROUTES = (FILES / "routes.txt").read_text().splitlines()


def load(name):
    path = FILES / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def served():
    """`served(answer)` answers as `answer(method, path, credential)` says, and returns the port."""
    running = []

    def serve(answer):
        class Handler(BaseHTTPRequestHandler):
            def _answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                serve.seen.append((self.command, self.path, given, body))
                status, text = answer(self.command, self.path, given)
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

    serve.seen = []
    yield serve
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


KEY, TOKEN = "s3cret", "0perator"
USER = ["GET /v1/models", "POST /v1/completions", "GET /v1/responses/{response_id}"]


@pytest.fixture
def smoke(tmp_path, monkeypatch):
    """smoke.py as a pod has it: its data beside it, and the Secret's files."""
    module = load("smoke.py")
    (tmp_path / "routes.txt").write_text((FILES / "routes.txt").read_text())
    (tmp_path / "user.txt").write_text("\n".join(USER) + "\n")
    (tmp_path / "api_key").write_text(KEY + "\n")
    (tmp_path / "operator_token").write_text(TOKEN)
    monkeypatch.setattr(module, "HERE", str(tmp_path))
    monkeypatch.setattr(module, "SECRETS", str(tmp_path))
    module.folder = tmp_path
    return module


def engine(method, path, given):
    """vLLM without a door or a key."""
    if (method, path) == ("GET", "/v1/models"):
        return 200, json.dumps({"data": [{"id": "m"}]})
    if (method, path) == ("POST", "/v1/completions"):
        return 200, json.dumps({"choices": [{"text": "hi"}]})
    if path == "/health":
        return 200, ""
    there = [route.partition(" ")[0] for route in ROUTES if route.endswith(" " + path)]
    return (404, "") if not there else (200, "{}") if method in there else (405, "")


def guarded(method, path, given, *, keyed=True):
    """The same behind a door."""
    if f"{method} {path}" in USER and (given in (KEY, TOKEN) or not keyed):
        return engine(method, path, given)
    if path == "/health" or (path == "/metrics" and given == TOKEN):
        return 200, ""
    return (401 if path == "/metrics" or f"{method} {path}" in USER else 404), "{}"


def test_the_service_test_passes_an_engine_behind_a_door(smoke, served, capsys):
    port = served(guarded)
    assert smoke.main("127.0.0.1", "127.0.0.1", port, keyed=True) is None
    assert f"{len(ROUTES)} routes are closed to strangers" in capsys.readouterr().out
    method, path, given, body = served.seen[-1]
    assert (method, path, given) == ("POST", "/v1/completions", KEY)
    assert json.loads(body)["model"] == "m"
    asked = {path for _, path, given, _ in served.seen if not given}
    assert len(asked) == len({route.split()[1] for route in ROUTES})


def test_strangers_post_nothing_but_an_empty_object_and_only_where_clients_post(smoke, served):
    port = served(guarded)
    smoke.main("127.0.0.1", "127.0.0.1", port, keyed=True)
    posted = [(path, body) for method, path, given, body in served.seen
              if method == "POST" and given not in (KEY, TOKEN)]  # fmt: skip
    assert set(posted) == {("/v1/completions", b"{}")}


def test_without_keys_the_operator_s_routes_are_closed_all_the_same(smoke, served):
    port = served(lambda *asked: guarded(*asked, keyed=False))
    assert smoke.main("127.0.0.1", "127.0.0.1", port, keyed=False) is None
    problem = smoke.main("127.0.0.1", "127.0.0.1", port, keyed=True)
    assert problem.startswith("answered with no key: GET /v1/models: 200, POST /v1/completions")


def test_an_engine_without_a_door_is_found(smoke, served):
    for keyed in (True, False):
        problem = smoke.main("127.0.0.1", "127.0.0.1", served(engine), keyed=keyed)
        assert problem.startswith("answered with no key: ")
        for route in ("GET /metrics: 200", "POST /invocations: 405", "GET /docs: 200"):
            assert route in problem


def test_an_engine_s_own_key_is_no_door(smoke, served):
    def own(method, path, given):
        return engine(method, path, given) if path[:3] != "/v1" or given == KEY else (401, "{}")

    problem = smoke.main("127.0.0.1", "127.0.0.1", served(own), keyed=True)
    assert "POST /invocations" in problem
    assert "GET /v1/models" not in problem


def test_the_service_test_names_what_does_not_work(smoke, served):
    port = served(lambda m, p, k: guarded(m, p, k and (KEY if k == "wrong" else k)))
    assert "answered with a wrong key: GET /v1/models" in smoke.main("127.0.0.1", *[
        "127.0.0.1", port, True])  # fmt: skip
    port = served(lambda m, p, k: (500, "") if m == "POST" and k == KEY else guarded(m, p, k))
    assert smoke.main("127.0.0.1", "127.0.0.1", port, True) == "/v1/completions: 500"
    port = served(lambda m, p, k: (200, "") if p == "/metrics" and k else guarded(m, p, k))
    assert "GET /metrics: 200" in smoke.main("127.0.0.1", "127.0.0.1", port, True)
    port = served(lambda m, p, k: (200, "") if p == "/metrics" and k == KEY else guarded(m, p, k))
    assert smoke.main("127.0.0.1", "127.0.0.1", port, True) == (
        "/metrics with an API key: 200, not 401"
    )


def test_a_secret_of_hashes_alone_leaves_only_the_operator_to_ask(smoke, served, capsys):
    (smoke.folder / "api_key").unlink()
    port = served(guarded)
    assert smoke.main("127.0.0.1", "127.0.0.1", port, True) is None
    assert served.seen[-1][2] == TOKEN
    (smoke.folder / "operator_token").unlink()
    assert smoke.main("127.0.0.1", "127.0.0.1", port, True) is None
    assert "only hashes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("route", "answer"), [("POST /v1/embeddings", "data"), ("POST /classify", "data")]
)
def test_a_model_that_does_not_generate_is_asked_what_it_does(smoke, served, route, answer):
    (smoke.folder / "user.txt").write_text(f"GET /v1/models\n{route}\n")
    path = route.split()[1]

    def pooling(method, asked, given):
        if (method, asked) == ("POST", path):
            return (200, json.dumps({answer: [1]})) if given == KEY else (401, "{}")
        return guarded(method, asked, given)

    assert smoke.main("127.0.0.1", "127.0.0.1", served(pooling), True) is None
    assert served.seen[-1][:2] == ("POST", path)


def test_what_scripts_share_with_other_targets_is_the_same():
    shared = {
        file.name: file for file in (assets.path("deploy", "door") / "deployctl_door").glob("*.py")
    }
    there = {file.name for file in (FILES / "deployctl_door").glob("*.py")}
    assert there == set(shared)
    pairs = [(FILES / "deployctl_door" / name, file) for name, file in shared.items()]
    pairs.append((FILES / "alive.py", assets.path("deploy", "door", "alive.py")))
    assert [copy.name for copy, source in pairs if copy.read_bytes() != source.read_bytes()] == []


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
    before = len(asked)
    download.fetch("org/m", "", "abc")  # of another image: the Job is another, the model is there
    assert len(asked) == before


@pytest.mark.parametrize("period", ["liveness_period_seconds", "readiness_period_seconds"])
def test_the_rarest_probes_see_an_engine_that_hangs_though_one_is_missed(tmp_path, period):
    """A period of more than GAP_S passed for a freeze at each look: no hang was ever seen."""
    alive = load("alive.py")
    bounds = Probes.model_fields[period].metadata
    rarest = next(bound.le for bound in bounds if hasattr(bound, "le"))
    state, seen = tmp_path / "seen", {"0": (3.0, ["100"])}
    assert alive.stalled(state, seen, "run", 1000.0) == (0, 0)
    assert alive.stalled(state, seen, "run", 1000.0 + 2 * rarest) == (3, 2 * rarest)
