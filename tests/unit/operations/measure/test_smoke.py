import json

import httpx
import pytest

from deployctl.endpoint import Endpoint
from deployctl.errors import InputError, NotFoundError, TargetError
from deployctl.operations.measure import smoke
from deployctl.operations.measure.endpoint import Served, base_url, choose, resolve
from deployctl.targets.driver import EngineState
from deployctl.targets.keys import operator_token, place_key
from deployctl.targets.process import ProcessDriver
from deployctl.targets.store import ServiceRef, Store

CHAT = {
    "choices": [{"message": {"content": "The capital of France is Paris."}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 8},
}


def client(answers):
    """A client of a server that gives (status, document) by path, or what a function says."""

    def handler(request):
        found = answers.get(request.url.path, (404, {"error": {"message": "no such path"}}))
        status, document = found(request) if callable(found) else found
        content = document if isinstance(document, str) else json.dumps(document)
        return httpx.Response(status, text=content)

    return httpx.Client(base_url="http://h:1", transport=httpx.MockTransport(handler))


def asked(answers, expect="Paris"):
    return smoke.completion(client(answers), "m", "Capital of France?", expect)


def test_the_right_answer_passes():
    check, answer = asked({"/v1/chat/completions": (200, CHAT)}, "paris")
    assert check.ok
    assert answer.text == "The capital of France is Paris."
    assert (answer.prompt_tokens, answer.output_tokens) == (9, 8)


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ((200, {"choices": [{"message": {"content": "It is Rome."}}]}), "does not contain 'Paris'"),
        ((200, {"choices": [{"message": {"content": None}}]}), "is empty"),
        ((200, {"choices": []}), "no choices"),
        ((200, "not json"), "no choices"),
        ((500, {"error": {"message": "the engine died"}}), "HTTP 500: the engine died"),
        ((502, "<html>bad\ngateway"), "HTTP 502: <html>bad gateway"),
    ],
)
def test_wrong_answers_fail_and_say_why(answer, detail):
    check, _ = asked({"/v1/chat/completions": answer})
    assert not check.ok
    assert detail in check.detail
    assert check.hint


def test_a_model_without_a_chat_template_is_asked_for_a_completion():
    refusal = (400, {"error": {"message": "default chat template is no longer allowed"}})
    said = (200, {"choices": [{"text": " Paris"}]})
    check, answer = asked({"/v1/chat/completions": refusal, "/v1/completions": said})
    assert check.ok
    assert "no chat" in check.title
    assert answer.text == "Paris"


def test_models():
    listed = {"/v1/models": (200, {"data": [{"id": "m"}, {"id": "n"}]})}
    check, name = smoke.models(client(listed), Endpoint("http://h:1", "n", None, None))
    assert (check.ok, name) == (True, "n")
    check, name = smoke.models(client(listed), Endpoint("http://h:1", None, None, None))
    assert (check.ok, name) == (True, "m")
    check, name = smoke.models(client(listed), Endpoint("http://h:1", "x", None, None))
    assert (check.ok, name) == (False, None)
    assert check.detail == "it lists m, n"
    locked = {"/v1/models": (401, {"error": "Unauthorized"})}
    check, _ = smoke.models(client(locked), Endpoint("http://h:1", None, None, None))
    assert check.detail == "the server wants an API key"


def test_an_open_door_is_a_failure_and_names_the_routes():
    endpoint = Endpoint("http://h:1", "m", "right", None)
    check = smoke.refuses(client({"/metrics": (200, {})}), endpoint)
    assert not check.ok
    assert check.detail == "GET /metrics is open"
    assert check.document()["routes"] == [
        {"route": "GET /metrics", "method": "GET", "credential": "none", "status": 200}
    ]
    closed = smoke.refuses(client({}), endpoint)
    assert closed.ok
    assert "routes" not in closed.document()


def test_a_client_s_key_is_tried_whatever_we_ask_with():
    def locked(request):
        return (200 if request.headers.get("authorization") == "Bearer right" else 401), {}

    assert smoke.lets_in(client({"/v1/models": locked}), "right").ok
    refused = smoke.lets_in(client({"/v1/models": locked}), "wrong")
    assert (refused.ok, refused.detail) == (False, "HTTP 401: {}")


def test_nobody_there():
    def refuse(request):
        raise httpx.ConnectError("Connection refused")

    gone = httpx.Client(base_url="http://h:1", transport=httpx.MockTransport(refuse))
    check = smoke.health(gone)
    assert (check.ok, check.detail) == (False, "Connection refused")


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://h:8000", "http://h:8000"),
        ("http://h:8000/v1/", "http://h:8000"),
        ("https://h/llm/v1", "https://h/llm"),
        (" http://[::1]:8000/ ", "http://[::1]:8000"),
    ],
)
def test_addresses(given, base):
    assert base_url(given) == base


@pytest.mark.parametrize(
    "given", ["", "h:8000", "ftp://h", "http://", "http://h:99999", "http://a:b@h", "http://h?x=1"]
)
def test_what_is_no_address(given):
    with pytest.raises(InputError):
        base_url(given)


def test_flags_that_do_not_go_together(tmp_path, monkeypatch):
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path))
    with pytest.raises(InputError, match="both a service"):
        resolve("s", "http://h", None, None)
    with pytest.raises(InputError, match="--model goes with --url"):
        resolve("s", None, "m", None)
    with pytest.raises(NotFoundError, match="no service is running"):
        resolve(None, None, None, None, "process")
    with pytest.raises(NotFoundError):
        resolve("nobody", None, None, None, "process")
    for name in (None, "nobody"):  # it may be on the Docker engine
        with pytest.raises(TargetError, match="is not known: Docker is not running"):
            resolve(name, None, None, None)


def test_a_service_s_endpoint_has_all_that_lets_us_in(make_release, tmp_path, monkeypatch):
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    running = EngineState("running")
    monkeypatch.setattr(ProcessDriver, "state", lambda self, release: running)
    release = make_release(status="deployed", expose=True, api_key_file=tmp_path / "key")
    store, ref = Store(tmp_path / "state"), ServiceRef("process", "tiny")
    store.save(ref, release)
    place_key(store.folder(ref) / "api_key", "a-client-s")
    token = operator_token(store.folder(ref))
    endpoint = resolve(None, None, None, None)
    assert endpoint.service == "tiny"
    assert endpoint.api_key == "a-client-s"
    assert endpoint.operator_token == token
    assert endpoint.sent() == {"Authorization": f"Bearer {token}"}


def test_the_key_is_read_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("DEPLOYCTL_API_KEY", raising=False)
    assert resolve(None, "http://h", None, None).api_key is None
    monkeypatch.setenv("DEPLOYCTL_API_KEY", "from-env")
    assert resolve(None, "http://h", None, None).api_key == "from-env"
    file = tmp_path / "key"
    file.write_text("from-file\n")
    assert resolve(None, "http://h", None, file).api_key == "from-file"
    for content in ("", "two words", "two\nlines"):
        file.write_text(content)
        with pytest.raises(InputError, match=r"the API key (is empty|must be one)"):
            resolve(None, "http://h", None, file)
    with pytest.raises(InputError, match="cannot read the API key"):
        resolve(None, "http://h", None, tmp_path / "none")


def test_the_operator_s_token_is_given_like_a_key(tmp_path, monkeypatch):
    monkeypatch.setenv("DEPLOYCTL_API_KEY", "a-client-s")
    monkeypatch.setenv("DEPLOYCTL_OPERATOR_TOKEN", "from-env")
    assert resolve(None, "http://h", None, None).operator_token == "from-env"
    file = tmp_path / "token"
    file.write_text("from-file\n")
    endpoint = resolve(None, "http://h", None, None, token_file=file)
    assert (endpoint.api_key, endpoint.operator_token) == ("a-client-s", "from-file")
    assert endpoint.sent()["Authorization"] == "Bearer from-file"
    file.write_text("two words")
    with pytest.raises(InputError, match=r"the operator.s token must be one"):
        resolve(None, "http://h", None, None, token_file=file)
    with pytest.raises(InputError, match="--operator-token-file goes with --url"):
        resolve(None, None, None, None, token_file=file)


def test_which_model_is_asked_for():
    one, two = Served("m", "vllm"), Served("n", "other")
    anywhere = Endpoint("http://h", None, None, None)
    assert choose(anywhere, [one]) == one
    assert choose(anywhere._replace(model="n"), [one, two]) == two
    assert choose(anywhere._replace(model="x"), []) == Served("x", "unknown")
    with pytest.raises(InputError, match="serves 2 models"):
        choose(anywhere, [one, two])
    with pytest.raises(InputError, match="does not serve 'x'"):
        choose(anywhere._replace(model="x"), [one])
    assert one.is_vllm
    assert not two.is_vllm
