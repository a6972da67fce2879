"""Requests and key files of the corpus, changed at random: seconds here, minutes at night.

Whatever comes: the engine sees no request that the table does not allow with the credential shown,
no exception leaves the door, and no key and no prompt is in a line of the log.
"""

import asyncio
import json
import os
import random
import re
import time
from pathlib import Path
from urllib.parse import unquote

import pytest
from starlette._utils import get_route_path
from starlette.middleware.cors import CORSMiddleware

from deployctl_door.account import Account
from deployctl_door.door import Door
from deployctl_door.keyfolder import KeyFolder

from .conftest import Engine, digest

CORPUS = {
    path.stem: json.loads(path.read_text())
    for path in sorted(Path(__file__).with_name("corpus").glob("*.json"))
}
KEY, TOKEN, PROBE = "the-default-key", "the-operator-token", "the-probes-token"
PROMPT = "a prompt that nobody reads"
NIGHT_S = 180.0
TABLE = {
    "user": [
        ["POST", "/v1/chat/completions"],
        ["POST", "/v1/responses"],
        ["POST", "/v1/audio/transcriptions"],
        ["GET", "/v1/models"],
    ],
    "operator": [["GET", "/metrics"], ["POST", "/tokenize"], ["GET", "/v1/responses/{id}"]],
    "probe": [["GET", "/health"]],
}
KINDS = {None: ("probe",), KEY: ("probe", "user"), TOKEN: ("probe", "user", "operator")}
ALLOWED = {
    key: {
        f"{method} {path}".replace("{id}", "ID") for kind in kinds for method, path in TABLE[kind]
    }
    for key, kinds in KINDS.items()
}
STATUSES = {200, 400, 401, 403, 404, 413, 415}


class Fuzz:
    """Makes requests out of the corpus, and puts them to a door."""

    def __init__(self, seed, configure, folder):
        self.random = random.Random(seed)
        self.engine = Engine()
        self.lines = []
        account = Account(log=True, write=self.lines.append)
        (folder / "probe").write_text(PROBE)
        more = {"body": {"bytes": 4096}, "probe_token": str(folder / "probe")}
        cors = CORSMiddleware(self.engine, allow_origins=["*"], allow_methods=["*"])
        self.door = Door(cors, configure(**TABLE, **more), account)

    def changed(self, text, other=()):
        """A text of the corpus, most often with something of it changed."""
        source = self.random
        for _ in range(source.choice((0, 0, 1, 1, 2, 4))):
            at, to = sorted(source.randint(0, len(text)) for _ in range(2))
            middle = source.choice(
                (
                    "",
                    text[at:to] * 2,
                    text[at:to].encode("latin-1").swapcase().decode("latin-1"),
                    chr(source.randrange(256)),
                    source.choice(other) if other else "/",
                    source.choice(("%", "%2f", "..", "//", "\x00", '"', "\\", "\r\n", ";", "?")),
                )
            )
            text = text[:at] + middle + text[to:]
        return text[:8192]

    def request(self, key):
        """The scope and the body of a request that shows no good credential but `key`."""
        source = self.random
        line = self.changed(source.choice(CORPUS["requests"]), CORPUS["requests"])
        method, _, target = line.partition(" ")
        raw, _, query = target.encode("latin-1").partition(b"?")
        pairs = [source.choice(CORPUS["headers"]) for _ in range(source.randrange(5))]
        if source.random() < 0.6:
            pairs.append(["content-type", "application/json"])
        if key is not None:
            pairs = [each for each in pairs if each[0].lower() not in ("authorization",)]
            pairs.append(["authorization", f"Bearer {key}"])
        source.shuffle(pairs)
        body = self.changed(source.choice(CORPUS["bodies"]), CORPUS["bodies"]).encode("latin-1")
        scope = {
            "type": "http",
            "method": method,
            "path": unquote(raw.decode("latin-1")),
            "raw_path": raw,
            "query_string": query,
            "root_path": source.choice(("", "", "/llm", "/v1", "/")),
            "headers": [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in pairs],
        }
        return scope, body

    async def step(self, key):
        """Sends one request, and holds what came of it against the invariants."""
        scope, body = self.request(key)
        self.engine.seen.clear()
        self.lines.clear()
        sent = []
        parts = [body[:9], body[9:]]

        async def receive():
            if not parts:
                return {"type": "http.disconnect"}
            part = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}

        async def send(message):
            sent.append(message)

        await self.door(scope, receive, send)
        self.check(scope, key, sent)

    def check(self, scope, key, sent):
        """The invariants."""
        for method, path, _ in self.engine.seen:
            routed = get_route_path({"path": path, "root_path": scope["root_path"]})
            route = re.sub(r"(?<=/v1/responses/)[A-Za-z0-9_-]+$", "ID", routed)
            assert f"{method} {route}" in ALLOWED[key], (scope, key)
        assert sent[0]["status"] in STATUSES, (scope, sent)
        assert [m["type"] for m in sent[:2]] == ["http.response.start", "http.response.body"]
        for name, value in sent[0]["headers"]:
            assert b"\n" not in name + value
            assert b"\r" not in name + value
        entry = json.loads(self.lines[-1])
        entry.update(model=None, request_id=None)  # the client's own to say
        for secret in (KEY, TOKEN, PROBE, PROMPT, "a-key-that-is-wrong"):
            assert secret not in json.dumps(entry)


def run(fuzz, *, steps=0, seconds=0.0):
    async def go():
        begun, done = time.monotonic(), 0
        while done < steps or time.monotonic() - begun < seconds:
            done += 1
            await fuzz.step(fuzz.random.choice((None, None, KEY, TOKEN)))
        return done

    return asyncio.run(go())


@pytest.mark.parametrize("seed", range(4))
def test_no_request_gets_past_the_table(configure, tmp_path, seed):
    assert run(Fuzz(seed, configure, tmp_path), steps=3000) == 3000


def key_files(fuzz, secrets, until):
    """Writes changed key files: whoever had a key keeps it, where the file cannot be read."""
    clock = [0.0]
    told = []
    folder = KeyFolder(secrets, told.append, clock=lambda: clock[0])
    good = {"version": 1, "keys": [{"name": "ada", "sha256": digest("key-of-ada")}]}

    def written(text):
        (secrets / "keys.json").write_bytes(text.encode("latin-1"))
        clock[0] += 10
        return folder.now()

    number = 0
    while until(number):
        number += 1
        assert written(json.dumps(good)).find("key-of-ada", 0)
        told.clear()
        text = fuzz.changed(fuzz.random.choice(CORPUS["keys"]), CORPUS["keys"])
        ring = written(text)
        for stranger in ("", "stranger", TOKEN, PROBE, "0" * 64, "\xff"):
            assert ring.find(stranger, 0) is None
        assert ring.find(KEY, 0) or "default" in text, text
        assert bool(ring.find("key-of-ada", 0)) == bool(told), text
        assert ring.is_operator(TOKEN)
        assert not ring.open
        assert KEY not in "".join(told)
    return number


def test_no_key_file_lets_a_stranger_in(configure, secrets, tmp_path):
    assert key_files(Fuzz(5, configure, tmp_path), secrets, lambda number: number < 500) == 500


@pytest.mark.night
def test_a_night_of_both(configure, secrets, tmp_path):
    seed = int(os.environ.get("DOOR_FUZZ_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"DOOR_FUZZ_SEED={seed}")
    fuzz = Fuzz(seed, configure, tmp_path)
    assert run(fuzz, seconds=NIGHT_S * 0.8) > 10_000
    end = time.monotonic() + NIGHT_S * 0.2
    assert key_files(fuzz, secrets, lambda _: time.monotonic() < end) > 1_000
