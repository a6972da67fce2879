"""Web pages before a service that wants no key: its own and this machine's are answered alone."""

import pytest
from starlette.middleware.cors import CORSMiddleware

from deployctl_door.door import Door
from deployctl_door.origins import is_foreign

CHAT = "/v1/chat/completions"
WISH = ("access-control-request-method", "POST")
HERE = "127.0.0.1:8000"


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost", HERE),
        ("http://localhost:3000", HERE),
        ("https://LocalHost:3000", "llm.example.com"),
        ("http://127.0.0.1:5173", "localhost:8000"),
        ("http://127.8.9.1", HERE),
        ("http://[::1]:3000", HERE),
        ("http://app.localhost:3000", HERE),
        # The address that is asked, where it can be nobody else's.
        ("https://llm.example.com", "llm.example.com"),
        ("https://llm.example.com:8443", "LLM.example.com:8443"),
        ("https://llm.example.com", "llm.example.com:443"),
        ("http://192.168.1.7:8080", "192.168.1.7:8080"),
        ("http://[fe80::1]", "[fe80::1]"),
        ("http://gpu1", "gpu1:80"),
        ("http://deployctl-chat:8000", "deployctl-chat:8000"),
    ],
)
def test_a_page_of_this_machine_and_the_services_own_may_ask(origin, host):
    assert not is_foreign(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://page.example", HERE),
        ("http://page.example:8000", HERE),
        ("https://page.example", "llm.example.com"),
        ("https://llm.example.com", "llm.example.com:8443"),
        ("http://192.168.1.7:8080", HERE),
        ("http://gpu1:3000", "gpu1:8000"),
        # A name that was led here (DNS rebinding).
        ("http://page.example:8000", "page.example:8000"),
        ("http://page.example", "page.example"),
        # What looks like this machine.
        ("http://localhost.page.example", HERE),
        ("http://127.0.0.1.page.example", HERE),
        ("http://127.0.0.1@page.example", HERE),
        ("http://notlocalhost", HERE),
        ("http://localhost/x", HERE),
        ("http://localhost, https://page.example", HERE),
        # No page says what it is.
        ("null", HERE),
        ("", HERE),
        ("127.0.0.1", HERE),
        ("chrome-extension://abcdefgh", HERE),
        ("file://", HERE),
        (None, HERE),
        ("https://llm.example.com", None),
    ],
)
def test_any_other_may_not(origin, host):
    assert is_foreign(origin, host)


@pytest.fixture
def door(engine, configure, secrets):
    """One that wants no key, before the CORS middleware that vLLM has before all its routes."""
    (secrets / "api_key").unlink()
    cors = CORSMiddleware(engine, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
    return Door(cors, configure(keyless=True))


@pytest.mark.parametrize("origin", ["https://page.example", "null", "http://evil.example:8000"])
def test_a_foreign_page_hears_why_and_what_to_do_and_reads_nothing(ask, door, engine, origin):
    headers = [("origin", origin), ("host", origin.rpartition("/")[2])]
    if "https" in origin:
        headers[1] = ("host", HERE)
    for method, path, more in (
        ("POST", CHAT, []),
        ("GET", "/v1/models", []),
        ("OPTIONS", CHAT, [WISH]),
    ):
        answer = ask(method, path, body={}, headers=[*headers, *more], through=door)
        assert answer.status == 403
        error = answer.json()["error"]
        assert error["type"] == "permission_error"
        assert "web page" in error["message"]
        assert "deployctl keys add" in error["message"]
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert engine.seen == []
    page = ask("GET", "/metrics", key="the-operator-token", through=door).body.decode()
    assert 'deployctl_door_refusals_total{key="-",reason="origin"} 3' in page


def test_an_origin_that_is_said_twice_is_none(ask, door, engine):
    twice = [("origin", "http://localhost"), ("origin", "https://page.example")]
    assert ask("POST", CHAT, body={}, headers=twice, through=door).status == 403
    assert engine.seen == []


def test_a_page_of_this_machine_asks_as_ever(ask, door, engine):
    headers = [("origin", "http://localhost:3000"), ("host", HERE)]
    assert ask("OPTIONS", CHAT, headers=[*headers, WISH], through=door).status == 200
    answer = ask("POST", CHAT, body={}, headers=headers, through=door)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")


@pytest.mark.parametrize("host", [HERE, "deployctl-chat:8000", "llm.example.com", "gpu1.lan:8000"])
def test_what_is_no_page_asks_by_whatever_name_it_knows(ask, door, host):
    assert ask("POST", CHAT, body={}, headers=[("host", host)], through=door).status == 200


def test_with_a_key_any_page_that_has_it_may_ask(ask, door, write_keys, engine, configure):
    write_keys(ada="key-of-ada")
    keyed = Door(door._app, configure(keyless=True))
    foreign = [("origin", "https://page.example"), ("host", HERE)]
    assert ask("OPTIONS", CHAT, headers=[*foreign, WISH], through=keyed).status == 200
    assert ask("POST", CHAT, body={}, headers=foreign, through=keyed).status == 401
    given = ask("POST", CHAT, key="key-of-ada", body={}, headers=foreign, through=keyed)
    assert (given.status, given.headers["access-control-allow-origin"]) == (200, "*")
