"""What the program says, in our words: progress, and what went wrong with a hint."""

import io
import json
from contextlib import contextmanager

import pytest

from deployctl.errors import HubError, InterruptedByUserError, ModelError, TargetError
from deployctl.hub import transfer as module
from deployctl.hub.listing import Listing, StoredFile
from deployctl.hub.transfer import Request, transfer

LISTING = Listing("org/model", "c" * 40, (StoredFile("model.safetensors", 3 << 30, "a" * 64),))
REQUEST = Request(LISTING, "http://mirror", "hf_secret_of_the_test")
DONE = {"event": "done", "path": "/hub/x", "downloaded": 7}


class Child:
    returncode = 1

    def __init__(self, lines):
        texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
        self.stdin, self.stdout = io.StringIO(), iter([f"{text}\n" for text in texts])
        self.stdin.close = lambda: None

    def wait(self):
        pass


@pytest.fixture
def program(monkeypatch):
    started = []

    def says(*lines, stderr=()):
        @contextmanager
        def begin(words, environment):
            started.append((words, environment, Child(lines)))
            yield started[-1][2], list(stderr)

        monkeypatch.setattr(module, "_started", begin)
        return started

    return says


def failing(kind=TargetError):
    with pytest.raises(kind) as caught:
        transfer(REQUEST, ["python3"], {}, lambda _: None)
    assert caught.value.hint
    assert "hf_secret" not in f"{caught.value} {caught.value.where} {caught.value.hint}"
    return caught.value


def test_how_far_it_is(program):
    events = []
    progress = {"event": "progress", "what": "downloading", "done": 1 << 30, "total": 3 << 30}
    started = program(
        "Welcome to this image",
        {"event": "plan", "need": 2 << 30, "files": 1, "path": "/hub"},
        {**progress, "per_s": float(1 << 20)},
        {"event": "note", "text": "HTTP Error 429"},
        DONE,
    )
    done = transfer(REQUEST, ["python3"], {"HF_HOME": "/hub"}, events.append)
    assert (done.path, done.downloaded) == ("/hub/x", 7)
    assert [(e.kind, e.text) for e in events] == [
        ("phase", "fetching 2.0 GiB of org/model, 1.0 GiB are there"),
        ("progress", "1.0 GiB of 3.0 GiB · 1.0 MiB/s · 34 min 08 s left"),
        ("warning", "HTTP Error 429"),
    ]
    words, environment, child = started[0]
    assert environment["HF_HOME"] == "/hub"
    # The token goes by stdin, where no list of processes shows it.
    assert "hf_secret" not in f"{words}{environment}"
    assert "hf_secret" in child.stdin.getvalue()


@pytest.mark.parametrize(
    ("line", "kind", "says"),
    [
        ({"kind": "room", "need": 5 << 30, "free": 2 << 30, "path": "/hub"}, TargetError,
         "5.0 GiB are to come and 2.0 GiB are free, 3.0 GiB too little"),
        ({"kind": "full", "path": "/hub"}, TargetError, "the disk is full"),
        ({"kind": "denied", "path": "/hub"}, TargetError, "may not be written"),
        ({"kind": "digest", "file": "m"}, HubError, "digest"),
        ({"kind": "mirror", "file": "m"}, HubError, "digest"),
        ({"kind": "missing", "files": ["a", "b"], "path": "/h"}, ModelError, "a and 1 more"),
        ({"kind": "network", "text": "x", "file": "m"}, HubError, "the Hub was lost"),
        ({"kind": "timeout", "text": "x", "file": "m"}, HubError, "did not answer in time"),
        ({"kind": "proxy", "text": "407", "file": "m"}, HubError, "the proxy"),
        ({"kind": "python", "text": "no module"}, TargetError, "huggingface_hub"),
        ({"kind": "system", "text": "EIO", "file": "m"}, TargetError, "EIO"),
        ({"kind": "http", "status": 429, "headers": {"Retry-After": "9"}}, HubError, "fewer"),
        ({"kind": "http", "status": 401, "headers": {}}, HubError, "refuses access"),
        ({"kind": "http", "status": 403, "headers": {"X-Error-Code": "GatedRepo"}}, HubError,
         "gated"),
        ({"kind": "http", "status": 404, "headers": {"X-Error-Code": "RevisionNotFound"}},
         ModelError, "no such revision"),
        ({"kind": "http", "status": 503, "headers": {}}, HubError, "HTTP 503"),
    ],
)  # fmt: skip
def test_what_went_wrong(program, line, kind, says):
    program({"event": "error", **line})
    assert says in failing(kind).message


def test_a_lost_connection_names_mirror_and_proxy(program, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://user:secret@proxy:3128")
    program({"event": "error", "kind": "network", "text": "refused", "file": "m"})
    error = failing(HubError)
    assert error.where == "http://mirror through the proxy proxy:3128"


def test_a_program_that_dies_leaves_its_last_words(program):
    program(stderr=["docker: no space left on device"])
    assert "without a word: docker: no space left" in failing().message


def test_ctrl_c_says_how_to_go_on(program, monkeypatch):
    program({"event": "plan", "need": 1, "files": 1, "path": "/hub"}, DONE)

    def interrupted(event):
        raise KeyboardInterrupt

    with pytest.raises(InterruptedByUserError) as caught:
        transfer(REQUEST, ["python3"], {}, interrupted)
    assert "run it again" in caught.value.hint
