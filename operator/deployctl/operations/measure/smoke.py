"""Asks a server a question and checks the answer, and that it would answer no stranger."""

import time
from typing import Any, NamedTuple

import httpx

from deployctl import web
from deployctl.endpoint import Endpoint
from deployctl.errors import InputError, TargetError
from deployctl.operations.measure import chats
from deployctl.operations.measure.asking import SmokeCheck, ask
from deployctl.operations.measure.endpoint import shown, with_wire
from deployctl.operations.measure.request import EXPECT, QUESTION, SmokeRequest, When
from deployctl.targets import strangers
from deployctl.units import seconds
from deployctl_loadtest import foreign

MAX_TOKENS = 64
_PLAIN_S = 30.0  # at most, for what takes no model: a saturated server answers it within seconds
_NO_SUCH_SERVER = "is this the address of an OpenAI-compatible server?"


class Completion(NamedTuple):
    """What the model said."""

    text: str
    prompt_tokens: int | None
    output_tokens: int | None
    seconds: float


class SmokeResult(NamedTuple):
    """What a server answered."""

    endpoint: Endpoint
    model: str | None
    question: str
    expect: str | None
    checks: list[SmokeCheck]
    answer: Completion | None

    def document(self) -> dict[str, object]:
        """The JSON answer. Version 1."""
        answer = self.answer
        return {
            "version": 1,
            "ok": all(check.ok for check in self.checks),
            "service": self.endpoint.service,
            "url": self.endpoint.own,
            "model": self.model,
            "checks": [check.document() for check in self.checks],
            "question": self.question,
            "expect": self.expect,
            "answer": answer.text if answer else None,
            "prompt_tokens": answer.prompt_tokens if answer else None,
            "output_tokens": answer.output_tokens if answer else None,
            "seconds": round(answer.seconds, 4) if answer else None,
        }

    def enforce(self) -> None:
        """Raises if anything is wrong.

        Raises:
            TargetError: the first check that failed.
        """
        for check in self.checks:
            if not check.ok:
                raise TargetError(
                    f"{check.title}: no: {check.detail}", where=self.endpoint.own, hint=check.hint
                )


def smoke(endpoint: Endpoint, request: SmokeRequest) -> SmokeResult:
    """Asks for health, models and an answer, and whether strangers are refused.

    Raises:
        InputError: the request makes no sense.
    """
    try:
        timeout_s = max(seconds(request.timeout), 0.1)
    except ValueError as error:
        raise InputError(str(error), where="--timeout") from error
    question, expect = request.question, request.expect
    if not question.strip():
        raise InputError("the question is empty", where="--question")
    if expect is None and question == QUESTION:
        expect = EXPECT
    endpoint = with_wire(endpoint, request.header, request.ca_file)
    with web.client(endpoint, timeout_s) as client:
        model, checks, answer = _checked(client, endpoint, question, expect, request.tools)
    return SmokeResult(endpoint, model or endpoint.model, question, expect, checks, answer)


def _checked(
    client: httpx.Client, endpoint: Endpoint, question: str, expect: str | None, tools: When
) -> tuple[str | None, list[SmokeCheck], Completion | None]:
    checks = [health(client)]
    if not checks[0].ok and not checks[0].detail.startswith("HTTP"):
        return None, checks, None  # nobody is there: the rest says nothing new
    listed, model = models(client, endpoint)
    checks.append(listed)
    if not listed.ok and listed.detail.startswith(web.SILENT):
        return None, checks, None  # as it does not answer this, it is not waited for again
    if endpoint.api_key:
        checks.append(lets_in(client, endpoint.api_key))
    with strangers.stranger(endpoint) as stranger:
        checks.append(refuses(stranger, endpoint))
    if model is None:
        return None, checks, None
    check, answer = completion(client, model, question, expect)
    checks.append(check)
    if check.ok:
        checks += chats.checks(client, model, endpoint.chats, question, tools)
    return model, checks, answer


def _plain(client: httpx.Client, path: str, **options: Any) -> tuple[int, str, float, Any]:
    within_s = min(_PLAIN_S, client.timeout.read or _PLAIN_S)
    return ask(client, "GET", path, timeout=within_s, **options)


def health(client: httpx.Client) -> SmokeCheck:
    """Whether /health answers 200."""
    status, detail, seconds, _ = _plain(client, "/health")
    hint = "deployctl status and deployctl logs say more; is this the right address?"
    ok = status == 200
    return SmokeCheck("health", ok, "/health answers", detail, seconds, None if ok else hint)


def models(client: httpx.Client, endpoint: Endpoint) -> tuple[SmokeCheck, str | None]:
    """Whether /v1/models lists the model; and the model's name, if there is one to ask for."""
    status, detail, seconds, document = _plain(client, "/v1/models")
    names = _model_names(document) if status == 200 else None
    wanted = endpoint.model or (names[0] if names else None)
    if wanted is not None and wanted in (names or ()):
        return SmokeCheck("models", True, f"/v1/models lists {wanted}", "", seconds), wanted
    if status in (401, 403):
        said = "wants an API key" if endpoint.credential is None else "refuses the API key"
        detail, hint = f"the server {said}", "give --api-key-file, or set DEPLOYCTL_API_KEY"
    elif names is None:
        detail = detail if status != 200 else "not a list of models"
        hint = _NO_SUCH_SERVER
    else:
        detail = f"it lists {shown(names)}"
        hint = "--model must be a name that the server lists"
    title = f"/v1/models lists {endpoint.model or 'a model'}"
    return SmokeCheck("models", False, title, detail, seconds, hint), None


def lets_in(client: httpx.Client, key: str) -> SmokeCheck:
    """Whether the API key is let in: ours may be asking with the operator's token."""
    sent = {"Authorization": f"Bearer {key}"}
    status, detail, seconds, _ = _plain(client, "/v1/models", headers=sent)
    ok = status == 200
    hint = None if ok else "is it the key that the server has, or was it revoked?"
    return SmokeCheck("key", ok, "the API key is let in", detail, seconds, hint)


def refuses(stranger: httpx.Client, endpoint: Endpoint) -> SmokeCheck:
    """Whether every route turns away who has no credential, or a wrong one."""
    started = time.perf_counter()
    found = strangers.judge(stranger, endpoint)
    seconds = time.perf_counter() - started
    return SmokeCheck(
        "strangers", found.ok, found.title, found.detail, seconds, found.hint, found.open
    )


def completion(
    client: httpx.Client, model: str, question: str, expect: str | None
) -> tuple[SmokeCheck, Completion | None]:
    """Whether the model answers, and says what is expected. Greedy, so the same every time."""
    body: dict[str, Any] = {"model": model, "max_tokens": MAX_TOKENS, "temperature": 0}
    chat = {**body, "messages": [{"role": "user", "content": question}]}
    title = "a chat completion"
    status, detail, seconds, document = ask(client, "POST", "/v1/chat/completions", json=chat)
    if status in (400, 404) and ("template" in detail or status == 404):
        # A base model has no chat template; it can still go on from a text.
        title = "a completion (the model has no chat)"
        plain = {**body, "prompt": f"Question: {question}\nAnswer:", "stop": ["\n"]}
        status, detail, seconds, document = ask(client, "POST", "/v1/completions", json=plain)
    answer = _answered(document, seconds) if status == 200 else None
    hint: str | None = None
    if status != 200:
        hint = "deployctl logs shows what the engine says"
    elif answer is None:
        detail, hint = "the answer has no choices", _NO_SUCH_SERVER
    elif not answer.text:
        many = (answer.output_tokens or 0) > 1
        detail = f"the answer is {'blank' if many else 'empty'} ({_tokens(answer)})"
        hint = "is it an instruct model, and are its weights complete?"
    elif expect is not None and expect.casefold() not in answer.text.casefold():
        detail = f"the answer does not contain {expect!r}"
        hint = (
            "wrong weights, a wrong quantization or a very small model answer like this; "
            "with --question alone, any answer will do"
        )
    else:
        said = f", and contains {expect!r}" if expect is not None else ""
        detail = f"{_tokens(answer)}{said}"
    return SmokeCheck("completion", hint is None, title, detail, seconds, hint), answer


def _answered(document: Any, seconds: float) -> Completion | None:
    text = _text(document)
    if text is None:
        return None
    usage = document.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    asked, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
    return Completion(text, foreign.count(asked), foreign.count(written), seconds)


def _tokens(answer: Completion) -> str:
    if answer.output_tokens is None:
        return "answered"
    rate = answer.output_tokens / answer.seconds if answer.seconds > 0 else 0
    return f"{answer.output_tokens} tokens, {rate:.0f} tok/s"


def _model_names(document: Any) -> list[str] | None:
    try:
        return [str(model["id"]) for model in document["data"]]
    except (KeyError, TypeError, IndexError):
        return None


def _text(document: Any) -> str | None:
    try:
        choice = document["choices"][0]
        message = choice.get("message")
        text = choice.get("text") if message is None else _said(message)
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    return str(text or "").strip()


def _said(message: dict[str, Any]) -> Any:
    """The answer; of a model that was cut while it still reasoned, its reasoning."""
    return message.get("content") or message.get("reasoning_content") or message.get("reasoning")
