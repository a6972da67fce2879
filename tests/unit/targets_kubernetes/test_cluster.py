"""How an API server is asked: again where that is safe, and by whose clock."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest
from urllib3.exceptions import NewConnectionError, ProtocolError

from deployctl.errors import ClusterError
from deployctl.spec.settings import Settings
from deployctl.targets.kubernetes import cluster as module
from deployctl.targets.kubernetes.cluster import Cluster, UnreachableError

REFUSED = NewConnectionError(SimpleNamespace(host="h"), "connection refused")
CUT = ProtocolError("connection aborted")


class Server(Cluster):
    """Answers in turn: a document, a status, or what goes wrong on the way."""

    namespace = "llm"

    def __init__(self, *answers):
        super().__init__(Settings())
        self.answers, self.asked = list(answers), []
        self.date = datetime.now(UTC)

    def _connection(self):
        return SimpleNamespace(api=SimpleNamespace(host="h"))

    def _ask(self, method, path, query=None, **_):
        self.asked.append(method)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, document = answer if isinstance(answer, tuple) else (200, answer)
        headers = {"date": format_datetime(self.date)}
        return SimpleNamespace(status=status, headers=headers, data=json.dumps(document).encode())


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "sleep", lambda s: now.__setitem__(0, now[0] + s))
    return now


def test_one_that_has_answered_is_waited_for_and_that_is_told(clock):
    told = []
    server = Server({"a": 1}, REFUSED, CUT, (503, {"message": "starting"}), {"b": 2})
    server.tell = lambda event: told.append(event.text)
    assert server.get("/x") == {"a": 1}
    assert server.get("/x") == {"b": 2}
    assert told == ["waiting: the cluster's API server does not answer: connection refused"]


def test_one_that_never_answered_is_not(clock):
    with pytest.raises(UnreachableError, match="connection refused"):
        Server(REFUSED).get("/x")


def test_it_is_not_waited_for_for_ever(clock):
    server = Server({}, *[REFUSED] * 200)
    server.get("/x")
    with pytest.raises(UnreachableError):
        server.get("/x")
    assert module.PATIENCE_S <= clock[0] < module.PATIENCE_S + 2


def test_what_was_perhaps_made_is_not_made_again(clock):
    server = Server({}, REFUSED, {"made": 1}, CUT)
    server.get("/x")
    assert server.create("/x", {}) == {"made": 1}
    with pytest.raises(UnreachableError):
        server.create("/x", {})


def test_times_are_the_clusters_own(clock):
    server = Server({})
    server.date = datetime.now(UTC) - timedelta(hours=2)
    server.get("/x")
    assert abs(server.now() - server.date) < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("status", "said", "message", "hint"),
    [
        (403, "no right", "the cluster refuses", "deployctl doctor"),
        (403, 'admission webhook "x" denied the request: no', "denied", "do what it asks for"),
        (500, 'failed calling webhook "x": no service', "admission webhook fails", "not answer"),
        (500, "etcd is busy", "API server is not ready", None),
    ],
)
def test_what_it_refuses_is_said_with_what_to_do(status, said, message, hint):
    with pytest.raises(ClusterError, match=message) as refused:
        Server((status, {"message": said})).get("/x")
    assert hint in refused.value.hint if hint else refused.value.hint is None
