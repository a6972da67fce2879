"""A door before an application that writes down what reaches it."""

import asyncio
import hashlib
import json

import pytest

from deployctl_door import configuration, door


class Engine:
    """What stands behind the door."""

    def __init__(self):
        self.seen = []
        self.parts = [b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}']
        self.status = 200
        self.kind = b"application/json"
        self.hold = None  # an event that it waits for before it answers

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.seen.append((scope["method"], scope["path"], body))
        if self.hold is not None:
            await self.hold.wait()
        headers = [(b"content-type", self.kind), (b"server", b"engine/1.0")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for number, part in enumerate(self.parts, 1):
            last = number == len(self.parts)
            await send({"type": "http.response.body", "body": part, "more_body": not last})


class Answer:
    def __init__(self, messages):
        self.status = messages[0]["status"]
        self.headers = {k.decode().lower(): v.decode() for k, v in messages[0]["headers"]}
        self.body = b"".join(m.get("body", b"") for m in messages[1:])

    def json(self):
        return json.loads(self.body)


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def secrets(tmp_path):
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "api_key").write_text("the-default-key\n")
    (folder / "operator_token").write_text("the-operator-token\n")
    return folder


@pytest.fixture
def write_keys(secrets):
    """Writes keys.json: `name=key` pairs, or whole entries."""

    def write(*entries, revoked=(), **plain):
        keys = [{"name": n, "sha256": digest(k)} for n, k in plain.items()]
        document = {"version": 1, "keys": [*keys, *entries], "revoked": list(revoked)}
        (secrets / "keys.json").write_text(json.dumps(document))

    return write


def digest(key):
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture
def configure(tmp_path, secrets):
    def make(**changes):
        document = {
            "version": 1,
            "user": [
                ["POST", "/v1/chat/completions"],
                ["POST", "/v1/responses"],
                ["POST", "/v1/audio/transcriptions"],
                ["GET", "/v1/models"],
                ["GET", "/v1/responses/{response_id}"],
            ],
            "operator": [["GET", "/metrics"], ["POST", "/tokenize"]],
            "probe": [["GET", "/health"]],
            "secrets": str(secrets),
            **changes,
        }
        path = tmp_path / "door.json"
        path.write_text(json.dumps(document))
        return configuration.load(path)

    return make


@pytest.fixture
def build(engine, configure):
    """A door before `engine`."""
    return lambda **changes: door.Door(engine, configure(**changes))


@pytest.fixture
def ask(build):
    """Asks a door one request, and returns the answer."""
    default = []

    def run(method, path, *, key=None, body=b"", through=None, headers=(), raw=None, **scope):
        if through is None:
            if not default:
                default.append(build())
            through = default[0]
        return asyncio.run(asked(through, method, path, key, body, headers, raw, **scope))

    return run


async def asked(
    through,
    method,
    path,
    key=None,
    body=b"",
    headers=(),
    raw=None,
    kind="application/json",
    **scope,
):
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    sent = [(b"content-length", str(len(body)).encode())]
    if kind is not None:
        sent.append((b"content-type", kind.encode()))
    if key is not None:
        sent.append((b"authorization", f"Bearer {key}".encode("latin-1")))
    given = [(n.encode(), v if isinstance(v, bytes) else v.encode("latin-1")) for n, v in headers]
    sent = [pair for pair in sent if pair[0] not in {n for n, _ in given}] + given
    messages = []
    incoming = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message):
        messages.append(message)

    raw = path.encode() if raw is None else raw
    await through(
        {"type": "http", "method": method, "path": path, "raw_path": raw, "headers": sent, **scope},
        receive,
        send,
    )
    return Answer(messages)
