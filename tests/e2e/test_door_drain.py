"""A door that closes, under both event loops and with either handler of SIGTERM."""

import time

import pytest
from tests.e2e.door_parts import CHAT, Server

STREAM = {"model": "m", "stream": True, "interval": 0.01}


@pytest.fixture
def start(tmp_path):
    """Starts the server; `begin` has it close, by the file or by the signal."""
    servers = []

    def start(loop, signals):
        servers.append(Server(tmp_path, "--loop", loop, "--signals", signals))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def begin(server, by):
    if by == "file":
        (server.folder / "drain").touch()
    else:
        server.terminate()


@pytest.mark.parametrize("by", ["file", "signal"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_kept_connections_end_new_requests_are_refused_and_those_under_way_end(start, loop, by):
    server = start(loop, "engine")
    with server.connect() as first, server.connect() as kept, server.connect() as old:
        for connection in (kept, old):
            connection.ask("POST", CHAT, body={})
            assert "connection" not in connection.answer()[1]
        end = server.folder / "end"
        first.ask("POST", CHAT, body={**STREAM, "until": str(end)})
        assert "connection" not in first.head()[1]
        begin(server, by)
        begun = time.monotonic()
        closing = closed_kept(server, kept)
        assert closing.get("connection") == "close"
        assert kept.is_closed()
        # Until the moment has passed, who comes is still let in, over any HTTP.
        if time.monotonic() - begun < 0.4:
            for http in ("1.0", "1.1"):
                with server.connect() as late:
                    late.ask("POST", CHAT, body={}, http=http)
                    assert late.answer()[0] == 200
                    assert late.is_closed()
        server.until(lambda: refused(server, "1.1"))
        assert refused(server, "1.0")
        old.ask("POST", CHAT, body={})
        status, headers, _ = old.answer()
        assert (status, headers["connection"]) == (503, "close")
        assert int(headers["retry-after"]) >= 1
        end.touch()
        assert b"".join(iter(first.part, b"")).endswith(b"[DONE]\n\n")
    if by == "signal":
        assert server.process.wait(30) == 0


def closed_kept(server, kept):
    """The headers of the first answer that is given on a kept connection once the door closes."""
    found = {}

    def ask():
        kept.ask("POST", CHAT, body={})
        status, headers, _ = kept.answer()
        assert status == 200
        found.update(headers)
        return "connection" in headers

    server.until(ask, seconds=10)  # the file is looked for four times a second
    return found


def refused(server, http):
    with server.connect() as connection:
        connection.ask("POST", CHAT, body={}, http=http)
        status, headers, _ = connection.answer()
        assert headers["connection"] == "close"
        if status == 200:
            return False
        assert (status, headers["retry-after"]) == (503, "1")
        return True


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_where_the_server_handles_sigterm_it_goes_on_doing_so(start, loop):
    server = start(loop, "server")
    with server.connect() as first, server.connect() as idle:
        idle.ask("POST", CHAT, body={})
        assert idle.answer()[0] == 200
        first.ask("POST", CHAT, body={**STREAM, "until": str(server.folder / "end")})
        assert first.head()[0] == 200
        begin(server, "signal")
        assert idle.is_closed()
        (server.folder / "end").touch()
        assert b"".join(iter(first.part, b"")).endswith(b"[DONE]\n\n")
    server.process.wait(30)
