"""The gateway before several engines of one service, by prefix: who gets what, and who steps in."""

import contextlib
import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.e2e.gateway_parts import ANSWERED, TURNED_AWAY, BareEngine, gateway_in, is_error

import ports
from deployctl.render import prefix
from deployctl.render.gateway import GatewayEntry
from process_shell import PATIENCE_S, until

AT_ONCE = 2
FAILED = b"HTTP/1.1 500 no\r\n"


class Engine(BareEngine):
    """Answers all that it is asked, once it `may`; notes what came."""

    def __init__(self):
        self.asked, self.answer, self.may = [], ANSWERED, threading.Event()
        self.may.set()
        super().__init__()

    def end(self):
        self.may.set()
        super().end()

    def _answer(self, line, headers, body):
        if b"/health" in line:
            return ANSWERED
        self.asked.append((headers, body))
        self.may.wait(PATIENCE_S)
        return self.answer


class Served:
    """Two engines behind a gateway."""

    def __init__(self, gateway):
        self.gateway, self.port, self.engines = gateway, ports.free(), [Engine(), Engine()]
        wanted = {"exposed": False, "domain": None, "tls": None, "hold_s": 30}
        more = {"replicas": 2, "routing": "prefix", "at_once": AT_ONCE}
        self.entry = GatewayEntry(service="tiny", port=self.port, **wanted, **more)
        gateway.admit(self.entry, *(each.address for each in self.engines))
        gateway.await_answer(self.entry)

    def ask(self, body, path="/v1/chat/completions", **headers):
        asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        with contextlib.closing(asked):
            asked.request("POST", f"/tiny{path}", body, headers)
            got = asked.getresponse()
            assert got.status != 502 or is_error(got.read())  # it is the gateway's own
            return got.status

    def told_openings(self):
        """Whether an engine was."""
        return any(prefix.OPENING in headers for e in self.engines for headers, _ in e.asked)

    def engine_of(self, body, **more):
        """The engine that a request comes to, and the other."""
        before = [len(each.asked) for each in self.engines]
        assert self.ask(body, **more) == 200
        now = [len(each.asked) for each in self.engines]
        one = 0 if now[0] > before[0] else 1
        return self.engines[one], self.engines[1 - one]


@pytest.fixture
def served(tmp_path):
    with gateway_in(tmp_path / "gateway", "tiny") as made:
        found = Served(made)
        yield found
    for each in found.engines:
        each.end()


def chat(*texts):
    roles = ("user", "assistant") * len(texts)
    said = [{"role": r, "content": text} for r, text in zip(roles, texts, strict=False)]
    return json.dumps({"model": "tiny", "messages": said})


def roles_last(*texts):
    roles = ("user", "assistant") * len(texts)
    parts = [[{"type": "text", "text": text}] for text in texts]
    said = [{"content": text, "role": r} for r, text in zip(roles, parts, strict=False)]
    return json.dumps({"model": "tiny", "messages": said})


def test_a_conversation_stays_where_it_began_and_others_are_spread(served):
    questions = [f"Question {number}" for number in range(24)]

    def places():
        first = [served.engine_of(chat(asked))[0] for asked in questions]
        return first, [served.engine_of(chat(asked, "So.", "Why?"))[0] for asked in questions]

    # Again where one was late to say that it is well: by chance both are never alike.
    first, _ = until(lambda: (both := places())[0] == both[1] and both)
    assert 4 < first.count(served.engines[0]) < 20
    # So it does where a client writes roles last, and texts as parts.
    for asked in questions:
        own, later = (served.engine_of(roles_last(asked, *m))[0] for m in ([], ["So.", "Why?"]))
        assert own is later
    # What a client says of itself chooses nothing, and engines are told nothing.
    mine = {prefix.OPENING: "mine"}
    until(lambda: [served.engine_of(chat(q), **mine)[0] for q in questions] == first)
    assert not served.told_openings()
    # Other routes have no prompt, and a text is no placeholder.
    assert served.ask('{"input": "Hello"}', path="/v1/embeddings") == 200
    told = chat("{env.HOME} {http.request.host}")
    assert served.engine_of(told)[0].asked[-1][1] == told.encode()


def test_where_its_engine_is_busy_or_away_another_has_it_whole(served):
    body = chat("Hello", "Well?", "x" * 50_000)
    own, other = served.engine_of(body)
    with ThreadPoolExecutor(max_workers=8) as pool:
        own.may.clear()
        inside = [pool.submit(served.ask, body) for _ in range(AT_ONCE)]
        until(lambda: len(own.asked) == 1 + AT_ONCE)
        assert served.engine_of(body) == (other, own)  # it is busy
        other.may.clear()
        began = time.monotonic()
        more = [pool.submit(served.ask, body) for _ in range(4)]  # both are: nothing waits for that
        until(lambda: len(own.asked) + len(other.asked) == 2 + AT_ONCE + 4)
        assert time.monotonic() - began < served.entry.hold_s / 3
        own.may.set()
        other.may.set()
        assert [each.result() for each in (*inside, *more)] == [200] * (AT_ONCE + 4)
    until(lambda: served.engine_of(body) == (own, other))
    own.answer = TURNED_AWAY  # its door has closed
    assert served.ask(body) == 200
    assert (other.asked[-1][1], own.asked[-1][1]) == (body.encode(), body.encode())
    own.end()  # it is away
    for _ in range(4):
        assert served.ask(body) == 200
    assert other.asked[-1][1] == body.encode()
    assert not served.told_openings()


@pytest.mark.parametrize("answer", [FAILED, b""], ids=["500", "cut"])
def test_what_fails_in_an_engine_is_sent_to_no_other(served, answer):
    own, other = served.engine_of(chat("Hello"))
    own.answer = answer

    def failed():
        seen = len(other.asked)
        status = served.ask(chat("Hello"))
        return status != 200 and (status, len(other.asked) - seen)

    assert until(failed) == (500 if answer else 502, 0)
