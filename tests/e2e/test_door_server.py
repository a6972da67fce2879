"""Streams, hang-ups, many connections, odd bodies and requests, through the door and uvicorn."""

import asyncio
import json
import random
import re
import resource
import socket

import pytest
from tests.e2e.door_parts import CHAT, KEY, TOKEN, Server

LIMITS = {"bytes": 1 << 20, "seconds": 0.5}
CONNECTIONS = 1000


@pytest.fixture(scope="module", autouse=True)
def many_files():
    """A thousand connections are as many files, here and in the server."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(4096, before[1]) if before[1] != resource.RLIM_INFINITY else 4096
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, before[0]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module", params=["httptools", "h11"])
def server(request, many_files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("door")
    running = Server(folder, "--http", request.param, body=LIMITS, request_log=True)
    yield running
    running.close()


def request_for(body, *, key=KEY):
    content = json.dumps(body).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def streamed(port, body, parts=None):
    """The text of a stream; of its first `parts` alone, and the client hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_for(body))
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0], head
    if parts is not None:
        for _ in range(parts):
            await reader.readuntil(b"\n\n")
        writer.transport.abort()
        return b""
    text = await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()
    return text


async def at_once(*each):
    async with asyncio.timeout(60):
        return await asyncio.gather(*each)


def test_streams_come_through_whole_and_as_they_are_made(server):
    """A stream of minutes, in a second: no part waits for the next."""
    body = {"stream": True, "max_tokens": 300, "interval": 0.003}
    for text in asyncio.run(at_once(*(streamed(server.port, body) for _ in range(20)))):
        words = [line.split(b'"')[-2] for line in text.splitlines() if b"delta" in line]
        assert words == [str(number).encode() for number in range(300)]
        assert b"usage" not in text
        assert b"data: [DONE]" in text


def test_a_client_that_hangs_up_is_gone_for_the_engine_too(server):
    before = server.figures()["fake_hung_up"]
    body = {"stream": True, "interval": 0.01}
    asyncio.run(at_once(*(streamed(server.port, body, parts=2) for _ in range(10))))
    server.until(lambda: server.figures()["fake_hung_up"] == before + 10)
    assert server.figures()["deployctl_door_requests_under_way"] == 0
    assert server.figures()["fake_under_way"] == 0


def test_a_thousand_connections_at_once(server):
    end = server.folder / "all-are-here"
    body = {"stream": True, "interval": 0.1, "until": str(end)}

    async def run():
        streams = [asyncio.create_task(streamed(server.port, body)) for _ in range(CONNECTIONS)]
        while (await asyncio.to_thread(server.figures))["fake_under_way"] < CONNECTIONS:
            failed = [stream for stream in streams if stream.done()]
            assert not failed, await failed[0]
        end.touch()
        return await at_once(*streams)

    assert all(b"[DONE]" in text for text in asyncio.run(run()))
    assert server.figures()["deployctl_door_requests_under_way"] == 0


def test_a_body_up_to_the_limit_arrives_whole(server):
    before = server.figures()["fake_bytes"]
    body = {"x": "y" * ((1 << 20) - len('{"x": ""}'))}
    with server.connect() as connection:
        connection.ask("POST", CHAT, body=body)
        assert connection.answer()[0] == 200
    assert server.figures()["fake_bytes"] == before + (1 << 20)


def test_a_larger_body_is_refused_before_it_is_sent(server):
    seen = server.figures()["fake_seen"]
    with server.connect() as connection:
        head = request_for({}).replace(b"Content-Length: 2", b"Content-Length: 1048577")
        connection.send(head.partition(b"{}")[0])
        status, headers, _ = connection.answer()
        assert (status, headers["connection"]) == (413, "close")
        assert connection.is_closed()
    assert server.figures()["fake_seen"] == seen


def chunked(*parts, end=b"0\r\n\r\n"):
    head = request_for({}).partition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + end


def test_chunked_bodies(server):
    seen = server.figures()["fake_seen"]
    with server.connect() as connection:
        for end in (b"0\r\n\r\n", b"0\r\nX-Trailer: y\r\n\r\n"):
            connection.send(chunked(b'{"mod', b'el": ', b'"m"}', end=end))
            assert connection.answer()[0] == 200
        connection.send(chunked(b'{"x": "', *[b"y" * (1 << 16)] * 17, end=b""))
        assert connection.answer()[0] == 413
        assert connection.is_closed()
    assert server.figures()["fake_seen"] == seen + 2


@pytest.mark.parametrize("sent", [request_for({"x": "y"})[:-3], chunked(b'{"x": ', end=b"")])
def test_a_slow_body_is_given_up(server, sent):
    seen = server.figures()["fake_seen"]
    with server.connect() as connection:
        connection.send(sent)
        status, headers, _ = connection.answer()
        assert (status, headers["connection"]) == (408, "close")
        assert connection.is_closed()
    assert server.figures()["fake_seen"] == seen


def test_one_request_behind_another_on_a_connection_is_asked_for_its_own_key(server):
    seen = server.figures()["fake_seen"]
    with server.connect() as connection:
        connection.send(request_for({}) + request_for({}, key="wrong") + request_for({}))
        assert [connection.answer()[0] for _ in range(3)] == [200, 401, 200]
    assert server.figures()["fake_seen"] == seen + 2


TARGETS = [
    f"{CHAT}/", f"/{CHAT}", f"{CHAT}?a=/metrics", f"{CHAT}#x", f"{CHAT};x", f"http://x{CHAT}",
    f"http://x/metrics?{CHAT}", "/v1/./chat/completions", "/v1/x/../chat/completions",
    "/v1/chat%2fcompletions", "/v1/%63hat/completions", "/v1/chat/completions%00", "//x/metrics",
    "/metrics", "/metrics/", "/%6detrics", "/METRICS", "/invocations", "/tokenize", "/docs",
    "/openapi.json", "/health/../metrics", "/health%2f..%2fmetrics", "*", "/", "x", "http://x",
    "/v1/models/../../metrics", "/v1\\chat\\completions", "/\u00e9", "/health?/metrics",
]  # fmt: skip
METHODS = ["GET", "POST", "OPTIONS", "HEAD", "PUT", "TRACE", "CONNECT", "post", "PRI", "QUERY"]
TRICKS = [
    [], ["Host: x/metrics"], ["X-Forwarded-Prefix: /metrics"], ["X-Original-URL: /metrics"],
    ["X-Rewrite-URL: /metrics"], ["X-HTTP-Method-Override: GET"], ["Upgrade: h2c"],
    ["Connection: upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQA"],
    ["Transfer-Encoding: chunked"], ["Content-Length: 0"], ["X: y\r\n Host: z"],
]  # fmt: skip


def send_once(port, data):
    """Sends bytes, ends, and waits until the server has hung up."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        text = b""
        while part := connection.recv(1 << 16):
            text += part
        return text


def odd_requests():
    for target in TARGETS:
        for method in METHODS:
            for version in ("1.1", "1.0"):
                yield method, target, version, []
    for trick in TRICKS:
        yield "GET", "/metrics", "1.1", trick
        yield "POST", CHAT, "1.1", trick


@pytest.mark.parametrize("key", [None, KEY[:-1], KEY])
def test_odd_requests_reach_nothing_but_what_is_allowed(server, key):
    credential = [f"Authorization: Bearer {key}"] if key else []
    before = server.figures()["fake_seen"]
    for method, target, version, more in odd_requests():
        lines = [f"{method} {target} HTTP/{version}", "Host: x", "Connection: close", *credential]
        lines += ["Content-Type: application/json", *more, "", ""]
        answer = send_once(server.port, "\r\n".join(lines).encode("latin-1"))
        status = answer[:12].partition(b" ")[2]
        if status == b"200" and method == "GET":
            assert key == KEY or target.startswith("/health?"), lines
    allowed = {f"POST {CHAT}", "GET /v1/models"}
    assert server.reached() <= allowed
    if key != KEY:
        assert server.figures()["fake_seen"] == before


def test_a_websocket_is_refused(server):
    seen = server.figures()["fake_seen"]
    upgrade = (
        "GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Authorization: Bearer {KEY}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    )
    assert b" 403 " in send_once(server.port, upgrade.encode()).splitlines()[0]
    assert server.figures()["fake_seen"] == seen


def test_garbage_reaches_nothing_and_stops_nothing(server):
    """Good requests without a key, in which bytes are changed."""
    seen = server.figures()["fake_seen"]
    source = random.Random(14)
    whole = [request_for({"x": 1}, key="wrong"), chunked(b"{}").replace(KEY.encode(), b"wrong")]
    for _ in range(200):
        data = bytearray(source.choice(whole))
        for _ in range(source.randint(1, 6)):
            data[source.randrange(len(data))] = source.randrange(256)
        send_once(server.port, bytes(data))
    assert server.figures()["fake_seen"] == seen
    # h11 has closed a connection for what came behind a request, and then takes no answer to it.
    failed = re.findall(r"^[\w.]+(?:Error|Exception)\b.*", server.log(), re.MULTILINE)
    assert [line for line in failed if not line.startswith("h11._util.LocalProtocolError")] == []


def test_the_log_has_a_line_for_each_request_and_no_secret(server):
    with server.connect() as connection:
        connection.ask("POST", CHAT, body={"model": "m", "messages": ["a secret prompt"]})
        _, headers, _ = connection.answer()
    lines = [line for line in server.log().splitlines() if headers["x-request-id"] in line]
    entry = json.loads(lines[0])
    assert (entry["key"], entry["status"], entry["tokens_out"]) == ("default", 200, 2)
    for secret in (KEY, TOKEN, "a secret prompt"):
        assert secret not in server.log()
