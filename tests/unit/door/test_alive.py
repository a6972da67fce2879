"""The look at progress, before a fake engine: a server that answers as it is told."""

import importlib.util
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deployctl import assets

METRICS = Path(__file__).resolve().parents[2] / "data" / "metrics" / "vllm-0.32.0.txt"
PROGRAM = assets.path("deploy", "door", "alive.py")
TOKEN = "a-token_1"


def page(running=2, waiting=1, tokens=100, cache=0.5, engine=0):
    labels = f'{{engine="{engine}",model_name="a }} 9"}}'
    return (
        f"vllm:num_requests_running{labels} {running:.1f}\n"
        f"vllm:num_requests_waiting{labels} {waiting:.1f}\n"
        f"vllm:generation_tokens_total{labels} {tokens:.1f}\n"
        f"vllm:kv_cache_usage_perc{labels} {cache}\n"
    )


class FakeEngine:
    """Answers /health and /metrics with what `answers` says, and writes down what it is asked."""

    def __init__(self):
        self.answers = {"/health": (200, ""), "/metrics": (200, page())}
        self.asked = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                fake.asked.append((self.path, self.headers.get("Authorization")))
                status, text = fake.answers[self.path]
                if status is None:
                    self.wfile.write(text.encode())  # no HTTP
                    return
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def engine():
    fake = FakeEngine()
    yield fake
    fake.close()


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "probe-token"
    path.write_text(TOKEN)
    return path


class Look:
    """Looks at the fake engine, at a time of our own."""

    def __init__(self, engine, token_file, monkeypatch):
        spec = importlib.util.spec_from_file_location("alive_program", PROGRAM)
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        self.now = 1000.0
        monkeypatch.setattr(self.module.time, "monotonic", lambda: self.now)
        self._engine, self._file = engine, token_file

    def __call__(self, stall=60, after=0, **options):
        self.now += after
        return self.module.problem(self._engine.port, 5, stall, self._file, **options)


@pytest.fixture
def look(engine, token_file, monkeypatch):
    return Look(engine, token_file, monkeypatch)


def test_real_metrics_are_read(look):
    text = METRICS.read_text()
    assert look.module.reading(text, ready=False) == {}
    busy = re.sub(r"^(vllm:num_requests_running\{.*\}) 0.0$", r"\1 2.0", text, flags=re.MULTILINE)
    requests, marks = look.module.reading(busy, ready=True)["0"]
    assert requests == 2
    assert len(marks) >= 3


def test_the_token_is_shown_to_metrics_alone(look, engine):
    assert look() is None
    assert engine.asked == [("/health", None), ("/metrics", f"Bearer {TOKEN}")]


@pytest.mark.parametrize("status", [204, 301, 401, 404, 500, 503])
@pytest.mark.parametrize("path", ["/health", "/metrics"])
def test_any_status_but_200_fails(look, engine, path, status):
    engine.answers[path] = (status, page())
    assert look() == f"{path} says {status}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SSH-2.0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\r\nX: " + "x" * (1 << 16),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + "z" * 99,
    ],
)
def test_what_is_no_answer_fails(look, engine, text):
    engine.answers["/metrics"] = (None, text)
    assert look().startswith("no answer")


@pytest.mark.parametrize("cut", [1, 7, 1 << 20])
@pytest.mark.parametrize("ends", ["", "0\r\n\r\n", "0;x=y\r\nX: y\r\n\r\n"])
def test_an_answer_in_pieces_is_read_whole(look, engine, cut, ends):
    text = page()
    if ends:
        pieces = [text[i : i + cut] for i in range(0, len(text), cut)]
        body = "".join(f"{len(piece):x}\r\n{piece}\r\n" for piece in pieces) + ends
        head = "Transfer-Encoding: chunked"
    else:
        head, body = f"CONTENT-LENGTH:{len(text)}", text + "what comes behind it"
    engine.answers["/metrics"] = (None, f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}")
    assert look() is None
    assert look(after=60) == "3 requests and no progress for 60 s"


def test_an_answer_without_end_is_not_read_for_ever(look, engine):
    engine.answers["/metrics"] = (200, "x" * (17 << 20))
    assert look() == "no answer: no whole answer of HTTP"


def test_an_answer_that_drips_has_no_more_time_than_another(look, monkeypatch):
    """Of each read alone the time-out would never come."""

    class Drips:
        left = 5.0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def sendall(self, asked):
            assert asked.startswith(b"GET /health HTTP/1.1\r\n")

        def settimeout(self, seconds):
            self.left = seconds

        def recv(self, most):
            look.now += 2
            if self.left < 2:
                raise TimeoutError("timed out")
            return b"H" if look.now == 1002 else b"TTP/1.1 200 OK\r\nX: y"

    monkeypatch.setattr(look.module.socket, "create_connection", lambda *_: Drips())
    assert look() == "no answer: timed out"
    assert look.now == 1006


def test_nobody_there_fails(look, engine):
    engine.close()
    assert look(stall=0).startswith("no answer")
    engine.__init__()


def test_an_idle_engine_may_stand_still(look, engine):
    engine.answers["/metrics"] = (200, page(running=0, waiting=0))
    assert [look(after=1000) for _ in range(3)] == [None] * 3


def test_a_busy_engine_that_stands_still_is_dead(look):
    assert look() is None
    assert look(after=59) is None
    assert look(after=1) == "3 requests and no progress for 60 s"
    assert look(stall=0) is None


def test_time_in_which_all_was_frozen_is_no_time_without_progress(look):
    """`docker pause`: neither engine nor watchdog ran, and the requests of before are there yet."""
    assert look() is None
    assert look(after=40) is None
    assert look(after=3600) is None
    assert look(after=19) is None
    assert look(after=1) == "3 requests and no progress for 60 s"


@pytest.mark.parametrize("change", [{"tokens": 101}, {"cache": 0.6}])
def test_a_token_or_a_filling_cache_is_progress(look, engine, change):
    assert look() is None
    engine.answers["/metrics"] = (200, page(**change))
    assert look(after=61) is None
    assert look(after=59) is None
    assert look(after=1)


def test_an_engine_that_was_idle_between_is_looked_at_anew(look, engine):
    assert look() is None
    engine.answers["/metrics"] = (200, page(running=0, waiting=0))
    assert look(after=59) is None
    engine.answers["/metrics"] = (200, page())
    assert look(after=30) is None


def test_one_of_several_engines_that_hangs_is_found(look, engine):
    for second in range(6):
        moving = page(tokens=second, engine=1)
        engine.answers["/metrics"] = (200, page(running=1, waiting=0) + moving)
        said = look(after=12)
    assert said == "1 requests and no progress for 60 s"


def test_readiness_counts_what_runs_and_liveness_what_waits_too(look, engine):
    engine.answers["/metrics"] = (200, page(running=0, waiting=5))
    for _ in range(2):
        found = look(ready=True, stall=45), look()
        look.now += 100
    assert found == (None, "5 requests and no progress for 100 s")
    engine.answers["/metrics"] = (200, page(running=2, waiting=5))
    look(ready=True, stall=45)
    assert look(ready=True, stall=45, after=45) == "2 requests and no progress for 45 s"


def at_the_door(unanswered, oldest):
    return (
        f"deployctl_door_requests_under_way 9\ndeployctl_door_requests_unanswered {unanswered}\n"
        f"deployctl_door_oldest_unanswered_timestamp_seconds {oldest}\n"
    )


def test_an_engine_that_hung_while_it_was_idle_is_found_by_what_waits_at_the_door(look, engine):
    idle = page(running=0, waiting=0)
    engine.answers["/metrics"] = (200, idle + at_the_door(1, 1785000000.25))
    assert look() is None
    engine.answers["/metrics"] = (200, idle + at_the_door(3, 1785000000.25))
    assert look(after=59) is None
    assert look(after=1) == "3 requests and no progress for 60 s"
    assert look(ready=True, stall=45, after=45) is None


@pytest.mark.parametrize(
    "between",
    [
        page(running=0, waiting=0) + at_the_door(1, 1785000009.5),  # the oldest was answered
        page(running=0, waiting=0) + at_the_door(0, 0),
        page(running=1, waiting=0) + at_the_door(1, 1785000000.25),  # the engine had it
    ],
)
def test_what_waits_at_the_door_is_no_sign_where_it_does_not_stay(look, engine, between):
    waits = (200, page(running=0, waiting=0) + at_the_door(1, 1785000000.25))
    engine.answers["/metrics"] = waits
    assert look() is None
    engine.answers["/metrics"] = (200, between)
    assert look(after=30) is None
    engine.answers["/metrics"] = waits
    assert look(after=30) is None
    assert look(after=59) is None


def test_a_moving_engine_does_not_die_of_an_answer_that_is_long_in_coming(look, engine):
    for second in range(4):
        busy = page(running=1, waiting=0, tokens=second)
        engine.answers["/metrics"] = (200, busy + at_the_door(1, 1785000000.25))
        assert look(after=59) is None


def test_liveness_and_readiness_do_not_mix_what_they_saw(look, engine):
    """The one looks at times at which the other does not."""
    assert look() is None
    look.now += 50
    assert look(ready=True, stall=45) is None
    assert look(ready=True, stall=45, after=10) is None
    assert look() == "3 requests and no progress for 60 s"


def test_what_a_former_run_of_the_engine_left_does_not_count(look, token_file):
    assert look() is None
    token_file.write_text("another-token")  # as each start makes one
    assert look(after=61) is None
    assert look(after=60)


@pytest.mark.parametrize("left", ["", "[]", "{", '{"run": 1}', '{"run": 1, "engines": []}'])
def test_damaged_notes_are_made_anew(look, token_file, left):
    token_file.with_name("alive.json").write_text(left)
    assert look() is None
    assert look(after=60)


def test_a_token_that_is_missing_or_none_is_said(look, token_file):
    for content, said in ((None, "No such file"), (b"\xff", "not text"), (b" ", "no probe token")):
        token_file.unlink(missing_ok=True)
        if content is not None:
            token_file.write_bytes(content)
        assert said in look()
        assert str(token_file) in look()
    assert look(stall=0) is None  # it is not looked at


def test_metrics_that_hold_no_number_are_said(look, engine):
    engine.answers["/metrics"] = (200, "vllm:num_requests_running x\n")
    assert look() == "/metrics has no number for vllm:num_requests_running"


def test_a_state_that_cannot_be_written_is_said(look, token_file):
    token_file.with_name("alive.json").mkdir()
    (token_file.with_name("alive.json") / "x").touch()
    assert "alive.json: cannot be written" in look()


@pytest.mark.parametrize("option", [[], ["--ready"]])
def test_the_program_says_one_line_and_leaves_no_doubt(engine, token_file, option):
    def run(port):
        words = [sys.executable, "-I", "-S", PROGRAM, *option, str(port), "5", "60", token_file]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    assert run(engine.port) == (0, "", "")
    engine.answers["/health"] = (503, "")
    assert run(engine.port) == (1, "", "/health says 503\n")
