"""What a server that lies can do to a request of ours: nothing for long, and nothing large."""

import time

import httpx
import pytest

from deployctl import metrics, web
from deployctl.doctor.probes import ask_hub
from deployctl.endpoint import Endpoint, without_credentials
from deployctl.errors import DeployctlError, HubError, InputError, TargetError
from deployctl.hub import fetch
from deployctl.operations.measure.endpoint import choose, models
from deployctl.operations.measure.request import SmokeRequest
from deployctl.operations.measure.smoke import smoke
from deployctl.targets import readiness, strangers
from deployctl_loadtest.foreign import MAX_DOCUMENT, MAX_HEAD, MAX_METRICS

from .liar import BLOCK, HEAD, Liar, answer, bomb, drip, flood

SOON_S = 30.0  # on a busy machine; without a deadline none of these ends at all
PACKED = b"Content-Encoding: gzip\r\n"
LATE = {
    "nothing": drip(b"", b""),
    "a drip of a head": drip(b"HTTP/1.1 200 OK\r\nX: "),
    "a drip of headers": drip(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
    "a drip of interim answers": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a drip of a body": drip(HEAD + b"Content-Length: 1000000\r\n\r\n"),
    "a drip of chunks": drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}
LARGE = {
    "headers": flood(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 1000),
    "a header": flood(b"HTTP/1.1 200 OK\r\nA: ", b"b" * BLOCK),
    "a body": flood(HEAD + b"Content-Length: 99999999999\r\n\r\n", b" " * BLOCK),
    "chunks": flood(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n%b\r\n" % bytes(BLOCK)
    ),
    "until it closes": flood(HEAD + b"Connection: close\r\n\r\n", b"[" * BLOCK),
}


def client(liar, **more):
    return web.client(Endpoint(liar.url, "m", "the-key"), **{"within_s": 0.3, **more})


@pytest.mark.parametrize("lie", LATE.values(), ids=LATE)
def test_a_drip_does_not_outlive_the_deadline(lie):
    with Liar(lie) as liar, client(liar) as asking:
        began = time.monotonic()
        with pytest.raises(httpx.TimeoutException) as caught:
            asking.get("/v1/models")
        assert time.monotonic() - began < SOON_S
        assert web.problem(caught.value, 0.3) == "no answer within 300 ms"


@pytest.mark.parametrize("lie", LARGE.values(), ids=LARGE)
def test_what_is_larger_than_it_may_be_is_not_read(lie):
    said = pytest.raises((web.TooLargeError, httpx.RemoteProtocolError))
    with Liar(lie) as liar, client(liar, within_s=SOON_S, most=1 << 20) as asking, said:
        asking.get("/v1/models")
    assert liar.sent < 16 << 20  # what sockets hold besides


def test_a_bomb_is_unpacked_no_further_than_a_plain_answer_is_read():
    packed = bomb(64 << 20)
    with Liar(answer(packed, more=PACKED)) as liar, client(liar, within_s=SOON_S) as asking:
        with pytest.raises(web.TooLargeError, match="longer than 16,384 KiB"):
            asking.get("/metrics")
        with asking.stream("GET", "/metrics") as response:  # and no block of it is large
            assert (
                max(len(part) for part, _ in zip(response.iter_bytes(), "1234", strict=False))
                <= BLOCK
            )


@pytest.mark.parametrize("packing", [b"gzip", b"GZip ", b"deflate"])
def test_what_is_packed_is_read_all_the_same(packing):
    body = bomb(3 << 20)
    if packing == b"deflate":
        import zlib

        body = zlib.compress(bytes(3 << 20))
    lie = answer(body, more=b"Content-Encoding: %b\r\n" % packing)
    with Liar(lie) as liar, client(liar, within_s=SOON_S) as asking:
        assert asking.get("/").content == bytes(3 << 20)


@pytest.mark.parametrize("more", [b"Content-Encoding: br\r\n", PACKED], ids=["br", "no gzip"])
def test_what_is_packed_otherwise_is_said(more):
    said = pytest.raises(httpx.DecodingError, match="packed")
    with Liar(answer(b"\x1b[2J", more=more)) as liar, client(liar) as asking, said:
        asking.get("/")


def test_no_redirect_is_followed_and_no_key_goes_elsewhere():
    with Liar(answer({})) as elsewhere:
        to = b"Location: %b/v1/models\r\n" % elsewhere.url.encode()
        with Liar(answer({}, b"307 There", to)) as liar:
            endpoint = Endpoint(liar.url, "m", "the-key")
            with pytest.raises(TargetError):
                metrics.scrape(endpoint)
            with pytest.raises(TargetError):
                models(endpoint)
            smoke(endpoint, SmokeRequest(timeout="2s"))
    assert liar.asked
    assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("to", "said"),
    [("HTTP://elsewhere.test/x", "it redirects from https to http"), ("ftp://elsewhere/x", "ftp:")],
)
def test_the_hub_may_send_elsewhere_but_not_to_less(to, said, monkeypatch):
    asked = []

    def sends(request):
        asked.append(request)
        if request.url.scheme == "ftp":
            raise httpx.UnsupportedProtocol("there is no client for ftp:")
        return httpx.Response(302, headers={"Location": to})

    monkeypatch.setenv("HF_ENDPOINT", "https://hub.test")
    with web.roaming(5.0) as roaming:
        roaming._transport = httpx.MockTransport(sends)
        with pytest.raises(HubError) as caught:
            fetch("org/model", client=roaming, sleep=lambda _: pytest.fail("asked again"))
    assert said in caught.value.message
    assert "cannot be reached" not in caught.value.message
    assert {request.headers["accept-encoding"] for request in asked} == {"identity"}


def test_nothing_is_asked_for_that_is_not_unpacked():
    def tell(request):
        return httpx.Response(200, text=request.headers["accept-encoding"])

    with web.roaming(5.0) as roaming:
        roaming._transport = httpx.MockTransport(tell)
        assert roaming.get("https://hub.test/").text == "identity"


def test_a_long_answer_of_the_hub_may_take_its_time():
    slow = drip(HEAD + b"Content-Length: 99999\r\n\r\n", bytes(2000), 0.05)
    with Liar(slow) as liar, web.roaming(0.4, slowest=10_000) as roaming:
        assert len(roaming.get(liar.url).content) == 99999


def test_a_hub_that_drips_is_given_up(monkeypatch):
    with Liar(LATE["a drip of a body"]) as liar:
        monkeypatch.setenv("HF_ENDPOINT", liar.url.replace("http://", "http://user:secret@"))
        with web.roaming(0.2, slowest=10_000) as roaming, pytest.raises(HubError) as caught:
            fetch("org/model", client=roaming, sleep=lambda _: None)
    assert caught.value.message == "the Hub did not answer in time"
    assert "secret" not in caught.value.where


@pytest.mark.parametrize("lie", [*LATE.values(), *LARGE.values()], ids=[*LATE, *LARGE])
def test_whoever_asks_is_answered_in_time(lie, monkeypatch):
    monkeypatch.setattr(strangers, "_EACH_S", 0.3)
    with Liar(lie) as liar:
        endpoint = Endpoint(liar.url, "m", None)
        assert not readiness.ask(endpoint, 0.3).ok
        assert readiness.under_way(endpoint) is None
        for asks in (
            lambda: metrics.scrape(endpoint, timeout_s=0.3),
            lambda: models(endpoint, timeout=0.3),
        ):
            with pytest.raises(TargetError):
                asks()
        checks = smoke(endpoint, SmokeRequest(timeout="300ms")).checks
        assert [check.ok for check in checks] == [False]
        monkeypatch.setenv("HF_ENDPOINT", liar.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr("deployctl.doctor.probes.HUB_TIMEOUT_S", 1.3)
        assert ask_hub({"HF_ENDPOINT": liar.url}).status in (None, 200)
    assert liar.sent < 3 * (MAX_DOCUMENT + MAX_METRICS + MAX_HEAD)


def test_a_server_that_answers_some_and_then_no_more_is_left():
    ok = answer({})

    def lie(send, method, path):
        (ok if path == "/health" else LATE["a drip of a body"])(send)

    with Liar(lie) as liar:
        result = smoke(Endpoint(liar.url, "m", "k"), SmokeRequest(timeout="300ms"))
    assert [check.name for check in result.checks] == ["health", "models"]


NAMES = {
    "surrogates": '{"data": [{"id": "\\ud800x"}]}',
    "escapes": '{"data": [{"id": "\\u001b]0;x\\u0007"}]}',
    "nothing": '{"data": [{"id": "a\\u0000b"}]}',
    "long": '{"data": [{"id": "%s"}]}' % ("x" * 500),
}


@pytest.mark.parametrize("body", NAMES.values(), ids=NAMES)
def test_a_model_whose_name_nobody_can_ask_for(body):
    with Liar(answer(body.encode())) as liar:
        endpoint = Endpoint(liar.url, None, None)
        listed = models(endpoint)
        if listed[0].id == "?x":  # it was half of a surrogate pair
            assert choose(endpoint, listed) == listed[0]
            return
        with pytest.raises(InputError) as caught:
            choose(endpoint, listed)
    assert "--model" in caught.value.hint


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"data": [{"id": NaN}]}', b"\xff", b"9" * 9999, b'{"data": {}}x']
)
def test_what_is_no_list_of_models(body):
    with Liar(answer(body)) as liar, pytest.raises(TargetError, match="not a list of models"):
        models(Endpoint(liar.url, None, None))


def test_a_list_of_a_million_models_is_named_in_a_line():
    body = {"data": [{"id": f"model-{number}"} for number in range(100_000)]}
    with Liar(answer(body)) as liar, pytest.raises(DeployctlError) as caught:
        choose(Endpoint(liar.url, None, None), models(Endpoint(liar.url, None, None)))
    assert "99,990 more" in caught.value.hint
    assert len(caught.value.hint) < 400


def test_no_address_shows_its_password():
    text = without_credentials("at http://a:b@c@host/x@y and https://k@h, not mail@host")
    assert text == "at http://host/x@y and https://h, not mail@host"
