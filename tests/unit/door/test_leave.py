"""What a pod's end waits for, before a clock and a door that are told what to say."""

import http.server
import threading

import pytest

import leave


class Time:
    """Seconds that pass by sleeping; `looks` says who is in at a time."""

    def __init__(self, looks):
        self.now, self._looks = 0.0, looks

    def look(self):
        left = self._looks(self.now)
        if left == "gone":
            raise leave.Gone
        return left

    def sleep(self, seconds):
        self.now += seconds

    def ends(self, least=15, most=65, idle=6):
        leave.wait(self.look, least, most, idle, clock=lambda: self.now, sleep=self.sleep)
        return self.now


@pytest.mark.parametrize(
    ("looks", "end"),
    [
        (lambda now: 0, 15),  # proxies may send somebody yet
        (lambda now: 2 if now < 12 else 0, 17.5),  # connections that were kept are closed by then
        (lambda now: 1 if now < 30 or 33 < now < 40 else 0, 45.5),  # it came back on its own
        (lambda now: 1, 65),  # the rest is cut
        (lambda now: None, 15),  # it does not say
        (lambda now: None if now in (15, 15.5) else int(now < 20), 25.5),  # it is late, twice
        (lambda now: "gone" if now > 3 else 1, 3.5),
        (lambda now: "gone", 0),  # it never listened
    ],
    ids=["nobody", "one-answer", "once-more", "too-long", "silent", "late", "dies", "loads"],
)
def test_it_ends_once_nobody_has_been_in_for_longer_than_a_connection_is_kept(looks, end):
    assert Time(looks).ends() == end


@pytest.mark.parametrize(
    ("said", "seconds"), [({}, 6), ({"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "75"}, 76),
                          ({"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "x"}, 6)],
)  # fmt: skip
def test_it_knows_how_long_the_engine_keeps_a_connection(said, seconds):
    assert leave.keeps_s(said) == seconds


def test_it_closes_the_door_and_asks_it_with_the_probe_s_token(tmp_path):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"vllm:x 1\ndeployctl_door_requests_under_way 3\n")

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    token = tmp_path / "token"
    token.write_text("t0ken")
    try:
        assert leave.under_way(server.server_port, token) == 3
        leave.main([str(server.server_port), str(token), "0", "0"])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert asked == [("/metrics", "Bearer t0ken")] * 2
    with pytest.raises(leave.Gone):
        leave.under_way(server.server_port, token)
    assert leave.under_way(server.server_port, tmp_path / "none") is None
