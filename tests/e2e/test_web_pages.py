"""Web pages in a real browser, before services behind the gateway that want a key, or none."""

import json

import pytest
from tests.e2e.door_parts import KEY, Server
from tests.e2e.gateway_parts import gateway_in, needs_caddy

import browser_parts
import ports
from deployctl.render.gateway import GatewayEntry

pytestmark = pytest.mark.chromium

DOMAIN, FOREIGN = "llm.example.com", "page.example"
# Whoever has that page had its name lead elsewhere when the browser fetched it.
REBOUND = f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1, MAP {DOMAIN} 127.0.0.1"


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """Of three services: one that wants no key, one that does, and one with a domain and no key."""
    needs_caddy()
    folder = tmp_path_factory.mktemp("pages")
    doors = [Server(folder / "open", keyless=True), Server(folder / "keyed")]
    shared, own = ports.free(), ports.free()
    places = [
        ("open", doors[0], {"port": shared, "domain": None, "tls": None}),
        ("keyed", doors[1], {"port": shared, "domain": None, "tls": None}),
        ("named", doors[0], {"port": own, "domain": DOMAIN, "tls": "internal"}),
    ]
    try:
        with gateway_in(folder / "gateway", *(name for name, _, _ in places)) as gateway:
            for name, door, place in places:
                entry = GatewayEntry(service=name, exposed=False, hold_s=30, chat=True, **place)
                gateway.await_answer(gateway.admit(entry, f"127.0.0.1:{door.port}"))
            yield f"127.0.0.1:{shared}", f"{DOMAIN}:{own}"
    finally:
        for door in doors:
            door.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    words = [REBOUND, "--ignore-certificate-errors"]
    with browser_parts.Page(tmp_path_factory.mktemp("browser"), words=words) as opened:
        yield opened


def asks(page, url, key=None):
    """What the page that is shown hears of a service: the status, or that nothing was told."""
    headers = {"Content-Type": "application/json"}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    wanted = json.dumps({"method": "POST", "headers": headers, "body": "{}"})
    page.ask(
        f"window.told = ''; fetch({json.dumps(url + '/v1/chat/completions')}, {wanted})"
        ".then(a => a.text().then(t => told = `${a.status} ${t}`), () => told = 'nothing'); 0"
    )
    return page.until("told")


def test_a_services_own_page_asks_it_with_a_key_or_where_none_is_wanted(page, addresses):
    shared, named = addresses
    for start, there, key in (
        (f"http://{shared}/chat/", "/open", None),  # the first, which the bare address leads to
        (f"http://localhost:{shared.rpartition(':')[2]}/open/chat/", "/open", None),
        (f"http://{shared}/keyed/chat/", "/keyed", KEY),
        (f"https://{named}/chat/", "/named", None),
    ):
        page.go(start)
        assert page.ask("location.pathname") == f"{there}/chat/"
        assert asks(page, there, key).startswith("200 "), start


def test_a_page_of_another_asks_none_without_a_key(page, addresses):
    shared, _ = addresses
    rebound = f"http://{FOREIGN}:{shared.rpartition(':')[2]}"
    page.go(f"{rebound}/nothing")
    assert asks(page, f"http://{shared}/open") == "nothing"
    told = asks(page, f"{rebound}/open")  # by the name that leads here now, as its own server
    assert told.startswith("403 ")
    assert "deployctl keys add" in told
    assert asks(page, f"http://{shared}/keyed") == "nothing"
    assert asks(page, f"http://{shared}/keyed", KEY).startswith("200 ")
