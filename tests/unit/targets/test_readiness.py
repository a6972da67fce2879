"""What an engine's answer is worth, from real HTTP on loopback."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deployctl.endpoint import Endpoint
from deployctl.targets.readiness import ask

COMPLETION = b'{"choices": [{"text": " Paris"}]}'


@pytest.fixture
def answering():
    """Serves one status and body; returns the endpoint and what was asked."""
    servers = []

    def serve(status, body, key=None):
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["Content-Length"])
                asked.append((self.path, dict(self.headers), self.rfile.read(length)))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                return

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return Endpoint(f"http://127.0.0.1:{server.server_port}", "tiny", key), asked

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_completion_is_an_answer(answering):
    endpoint, asked = answering(200, COMPLETION, key="sesame")
    assert ask(endpoint, 5.0).ok
    path, headers, body = asked[0]
    assert path == "/v1/completions"
    assert headers["Authorization"] == "Bearer sesame"
    assert b'"model": "tiny"' in body


def test_no_proxy_stands_between(answering, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    endpoint, _ = answering(200, COMPLETION)
    assert ask(endpoint, 5.0).ok


@pytest.mark.parametrize(
    ("status", "body", "refused", "detail"),
    [
        (401, b'{"error": "Unauthorized"}', True, "HTTP 401: Unauthorized"),
        (404, b'{"error": {"message": "no such model"}}', True, "HTTP 404: no such model"),
        (429, b"", False, "HTTP 429"),
        (500, b"{", False, "HTTP 500: {"),
        (503, b'{"detail": "loading"}', False, "HTTP 503"),
        (200, b"<html>", False, "HTTP 200: <html>"),
        (200, b'{"choices": []}', False, "HTTP 200"),
        (200, b"[]", False, "HTTP 200"),
    ],
)
def test_what_is_no_completion(answering, status, body, refused, detail):
    endpoint, _ = answering(status, body)
    answer = ask(endpoint, 5.0)
    assert (answer.ok, answer.refused) == (False, refused)
    assert answer.detail.startswith(detail)


def test_nobody_there(free_port):
    answer = ask(Endpoint(f"http://127.0.0.1:{free_port}", "tiny", None), 5.0)
    assert (answer.ok, answer.refused) == (False, False)
    assert "nothing listens" in answer.detail
