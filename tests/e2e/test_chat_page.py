"""The chat page in a real browser, before a service that says what it is told to."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import browser_parts
from deployctl.render import chat
from process_shell import until

pytestmark = pytest.mark.chromium

KEY = "sk-right"
FOREIGN = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


class Service(BaseHTTPRequestHandler):
    """A gateway with a page, and an API that answers with `plays` in turn."""

    protocol_version = "HTTP/1.1"
    plays, asked = [], []

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/tiny/chat/":
            handler = chat.routes([(None, "tiny", False)])[0]["handle"][0]
            headers = {name: value[0] for name, value in handler["headers"].items()}
            return self._whole(200, handler["body"], headers)
        if self.headers["Authorization"] != f"Bearer {KEY}":
            return self._refused(401, "give a key")
        assert self.path == "/tiny/v1/models"
        return self._whole(200, json.dumps({"data": [{"id": "tiny-awq"}]}), {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body))
        self.plays.pop(0)(self)

    def _whole(self, status, text, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(text.encode())}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def _refused(self, status, message, **headers):
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        self._whole(status, json.dumps({"error": {"message": message}}), told)

    def _says(self, *parts, ends=True, what="content"):
        self._streams(parts, self.wfile.write, what, Connection="close")
        if ends:
            self.wfile.write(event({"choices": [], "usage": {"completion_tokens": 9}}))
            self.wfile.write(b"data: [DONE]\n\n")

    def _streams(self, parts, write, what="content", **headers):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        for part in parts:
            if callable(part):
                part()
                continue
            choice = {"text": part} if what == "text" else {"delta": {what: part}}
            write(event({"choices": [choice]}))
        self.close_connection = True


def event(document):
    return f"data: {json.dumps(document)}\n\n".encode()


def says(*parts, **how):
    return lambda service: service._says(*parts, **how)


def breaks_off(*parts):
    """As the gateway does where an engine ends: in the midst of an answer of no known length."""

    def play(service):
        chunk = lambda said: service.wfile.write(b"%x\r\n%s\r\n" % (len(said), said))  # noqa: E731
        service._streams(parts, chunk, Transfer_Encoding="chunked")

    return play


def waits(go):
    """And says nothing."""

    def play(service):
        go.wait()
        service.close_connection = True

    return play


def said(request):
    """What of a conversation is sent."""
    return [each["content"] for each in request[1]["messages"]]


def refuses(status, message="", **headers):
    return lambda service: service._refused(status, message, **headers)


@pytest.fixture(scope="module")
def served():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/tiny/chat/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def page(served, tmp_path_factory):
    """The page of somebody who gave the right key, after a wrong one."""
    with browser_parts.Page(tmp_path_factory.mktemp("browser")) as opened:
        opened.go(served)
        opened.until("document.querySelector('#door').open")
        assert "wants an API key" in opened.ask("document.querySelector('#door-why').textContent")
        for key, told in (("sk-wrong", "does not know this key"), (KEY, "Ask it something")):
            opened.ask("document.querySelector('#key').value = ''")
            opened.write("#key", key)
            opened.press("#door .first")
            opened.until(f"document.querySelector('#hint').textContent.includes({told!r})")
        yield opened


@pytest.fixture
def talk(page):
    """Says something on an empty page, and gives what is seen of the answer."""

    def say(*plays, words="Hello"):
        page.press("#anew")
        Service.plays[:], Service.asked[:] = plays, []
        page.write("#words", words)
        page.enter()
        until(lambda: Service.asked)

    return say


def seen(page, element):
    return page.ask(
        f"[...document.querySelectorAll({element!r})].map(e => e.textContent).join('|')"
    )


def ended(page):
    page.until("!document.querySelector('#send').hidden && !!document.querySelector('.assistant')")


def test_it_streams_and_keeps_the_conversation(page, talk):
    go = threading.Event()
    talk(says("Paris", go.wait, " is.\n```py\nx = 1\n```\n"), says("Yes."))
    page.until("document.querySelector('.said .text')?.textContent === 'Paris'")
    go.set()
    ended(page)
    assert seen(page, ".said .text") == "Paris is."
    assert seen(page, ".said pre") == "x = 1"
    assert "9 tokens" in seen(page, ".note")
    assert page.ask("document.title") == "tiny-awq"
    page.write("#words", "Sure?")
    page.enter()
    page.until("document.querySelectorAll('.said .text').length === 2")
    path, body = Service.asked[1]
    assert (path, body["model"], body["stream"]) == ("/tiny/v1/chat/completions", "tiny-awq", True)
    assert [each["role"] for each in body["messages"]] == ["user", "assistant", "user"]


def test_what_a_model_says_is_text(page, talk):
    talk(says(FOREIGN, f"\n```\n{FOREIGN}\n```"), words=FOREIGN)
    ended(page)
    assert seen(page, ".user .text") == seen(page, ".said .text") == FOREIGN
    assert seen(page, ".said pre") == FOREIGN
    assert page.ask("document.querySelectorAll('#talk img, #talk script').length") == 0
    assert page.ask("document.title") == "tiny-awq"


def test_reasoning_stands_by_itself(page, talk):
    talk(says("because", what="reasoning"))
    ended(page)
    assert "because" in seen(page, ".thoughts")


@pytest.mark.parametrize(
    ("play", "told"),
    [
        (refuses(403, "this key may ask other"), "may not do that: this key may ask other"),
        (refuses(429, "60 a minute", Retry_After=7), "60 a minute. Try again in 7 s"),
        (refuses(503, "late", Retry_After=10), "started, or is busy. Try again in 10 s"),
        (refuses(502), "engine ended before it had answered"),
        (says("The cap", ends=False), "cut off"),
    ],
)  # fmt: skip
def test_a_refusal_is_said_in_words_and_can_be_tried_again(page, talk, play, told):
    talk(play, says("Now."))
    ended(page)
    assert told in seen(page, ".problem span")
    page.press(".problem button")
    page.until("document.querySelector('.said .text')?.textContent === 'Now.'")
    assert Service.asked[0] == Service.asked[1]
    assert seen(page, ".problem") == ""


def test_what_came_of_an_answer_that_broke_stays(page, talk):
    go = threading.Event()
    talk(breaks_off("The cap", go.wait), says("Yes."))
    page.until("document.querySelector('.said .text')?.textContent === 'The cap'")
    go.set()
    ended(page)
    assert "cut off" in seen(page, ".problem span")
    page.write("#words", "Go on")
    page.enter()
    page.until("document.querySelectorAll('.said .text').length === 2")
    assert said(Service.asked[1]) == ["Hello", "The cap", "Go on"]
    assert seen(page, ".problem button") == ""


def test_an_answer_without_a_word_is_none(page, talk):
    go = threading.Event()
    talk(waits(go), says(), says("Yes."))
    page.press("#stop")
    ended(page)
    go.set()
    assert "Stopped before the first word" in seen(page, ".problem span")
    page.press(".problem button")
    page.until(
        "document.querySelector('.problem span')?.textContent.includes('ended before its first')"
    )
    page.write("#words", "Again")
    page.enter()
    page.until("document.querySelector('.said .text')?.textContent === 'Yes.'")
    assert [said(each) for each in Service.asked] == [["Hello"], ["Hello"], ["Again"]]
    assert seen(page, ".user .text") == "Again"


def test_an_answer_can_be_stopped_and_what_was_said_stays(page, talk):
    go = threading.Event()
    talk(says("One", go.wait, ends=False), says("Two"))
    page.until("!!document.querySelector('.said .text')")
    page.press("#stop")
    ended(page)
    go.set()
    assert seen(page, ".said .text") == "One"
    assert "stopped" in seen(page, ".note")


def test_a_model_without_a_chat_template_goes_on_with_the_text(page, talk):
    talk(refuses(400, "default chat template is no longer allowed"), says(" Paris", what="text"))
    ended(page)
    assert seen(page, ".said .text") == "Paris"
    assert [path for path, _ in Service.asked] == [
        "/tiny/v1/chat/completions",
        "/tiny/v1/completions",
    ]
    assert Service.asked[1][1]["prompt"] == "Hello"
    page.go(page.ask("location.href"))  # anew, by a key that this tab has kept
    page.until("document.title === 'tiny-awq'")
    assert not page.ask("document.querySelector('#door').open")


def test_who_waits_is_told_for_how_long(page, talk):
    go = threading.Event()
    talk(lambda service: (go.wait(), service._says("Late.")))
    page.until("document.querySelector('.note').textContent.includes('the request waits for it')")
    go.set()
    ended(page)
    assert seen(page, ".said .text") == "Late."


def test_its_own_policy_forbade_it_nothing_and_no_script_failed(page):
    time.sleep(0.2)
    page.ask("1")
    refused = ("status of 4", "status of 5", "ERR_INCOMPLETE_CHUNKED")  # as tests above have it
    assert [each for each in page.said if not any(one in each for one in refused)] == []
