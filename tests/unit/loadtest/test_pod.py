"""What runs in a load's pods, without one: Locust is a program of a few lines here."""

import json
import sys
import time

import pytest

from deployctl_loadtest import deliver, pod

PROGRAM = """
import json, sys
sys.stdout.write('@progress {"at_s": 2.5, "done": 7}\\n@unwritten no room\\nother words\\n')
open("samples-w-1.jsonl", "w").write('{"a": 1}\\n' * 3)
open("worker-w-1.json", "w").write(json.dumps(sys.argv[1:]))
raise SystemExit(3)
"""
WAITS = "import signal; print('@progress {\"at_s\": 0.5}', flush=True); signal.pause()"


@pytest.fixture
def made(tmp_path):
    masters = []

    def make(program):
        command = [sys.executable, "-c", program]
        masters.append(pod.Master(tmp_path / "files", tmp_path / "result", command))
        return masters[-1]

    yield make
    for master in masters:
        master.close()


def ask(master, sends=b"", **wanted):
    """The answers to one request, and whether more may come."""
    said, rest = [], memoryview(sends)

    def fill(buffer):
        nonlocal rest
        got = min(len(buffer), len(rest), 3)  # in small pieces, as a network has them
        buffer[:got] = rest[:got]
        rest = rest[got:]
        return got

    more = master.answer(json.dumps(wanted).encode(), said.append, fill)
    return said, more


def until(master, key, have):
    while True:
        ((told,), _) = ask(master, do="more", have=have)
        for name, offset, text in told["pieces"]:
            assert offset == have.get(name, 0)
            have[name] = offset + len(text)
        if key in told:
            return told


def test_a_run_from_its_files_to_its_last_byte(made, tmp_path, monkeypatch):
    monkeypatch.setattr(pod, "MOST", 5)
    master = made(PROGRAM)
    assert ask(master, b"0123456789", do="put", name="trace", size=10) == ([{"put": "trace"}], True)
    assert (tmp_path / "files/trace").read_bytes() == b"0123456789"
    for _ in range(2):  # its answer may be lost, and it is asked for again
        assert ask(master, do="run", options=["--users=2"], workers=4) == ([{"runs": True}], True)
    have = {}
    told = until(master, "ended", have)
    assert (told["ended"], told["unwritten"], told["left"]) == (3, "no room", 0)
    assert told["progress"] == {"at_s": 2.5, "done": 7}
    assert told["run_s"] >= 2.5
    assert have == {path.name: path.stat().st_size for path in (tmp_path / "result").iterdir()}
    assert have["samples-w-1.jsonl"] == 27
    words = json.loads((tmp_path / "result/worker-w-1.json").read_text())
    assert words[0] == "--users=2"
    assert "--expect-workers=4" in words
    assert (tmp_path / "result" / pod.LOG).read_text() == "other words\n"
    assert not master.left
    ask(master, do="leave")
    assert master.left


def test_what_is_stopped_ends(made):
    master = made(WAITS)
    ask(master, do="stop")  # nothing runs yet
    ask(master, do="run", options=[], workers=1)
    until(master, "progress", {})
    ask(master, do="stop")
    assert until(master, "ended", {})["ended"] == -15


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"do": "put", "name": "../x", "size": 1}, "not the name of a file here"),
        ({"do": "put", "name": "x", "size": 9}, "the connection was cut"),
        ({"do": "put"}, "KeyError"),
        ({}, "KeyError"),
    ],
)
def test_what_makes_no_sense_is_refused_and_ends_the_connection(made, wanted, why):
    (said,), more = ask(made(WAITS), b"1234", **wanted)
    assert why in said["error"]
    assert not more


def test_both_sides_know_whether_they_have_the_same_code(made):
    ((said,), _) = ask(made(WAITS), do="hello")
    assert (said["version"], said["code"]) == (pod.VERSION, pod.code())


class Runner:
    """Locust's, as far as messages go. What is sent to nobody by name, all get."""

    def __init__(self):
        self.listeners, self.sent, self.peers = {}, [], {}
        self.clients = self
        self.ready = []

    def register_message(self, kind, listener):
        self.listeners[kind] = listener

    def send_message(self, kind, data=None, client_id=None):
        self.sent.append(kind)
        for name, peer in self.peers.items():
            if client_id in (None, name):
                message = Client("me")
                message.data, message.node_id = data, peer.name
                peer.listeners[kind](environment=None, msg=message)


class Client:
    def __init__(self, name):
        self.id = name


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """A master and a worker, each with a folder of its own, and the master's files."""
    monkeypatch.setenv(pod.FOLDER_VARIABLE, str(tmp_path / "master"))
    (tmp_path / "master").mkdir()
    (tmp_path / "master/trace").write_bytes(b"\x00\xff")
    leader, worker = Runner(), Runner()
    leader.name, worker.name = "leader", "w"
    leader.ready, leader.peers = [Client("w")], {"w": worker}
    worker.peers = {"leader": leader}
    leader.peers["w"].name, worker.peers["leader"].name = "leader", "w"
    worker.name, leader.name = "leader", "w"  # as whom the other side sees it
    return leader, worker


def test_a_worker_elsewhere_has_the_files_and_the_time_before_it_begins(
    pair, tmp_path, monkeypatch
):
    leader, worker = pair
    files = deliver.Files(leader)
    monkeypatch.setenv(pod.FOLDER_VARIABLE, str(tmp_path / "worker"))
    came = deliver.Delivery(worker)
    assert (tmp_path / "worker/trace").read_bytes() == b"\x00\xff"
    files.wait()
    assert came.apart
    assert came.ahead_s == 0.0  # the same clock, but for the time that a message takes
    message = Client("w")
    message.data = {"now": time.time() - 30}
    worker.listeners[deliver.CLOCK](environment=None, msg=message)
    assert came.ahead_s == pytest.approx(30, abs=1)


def test_a_worker_that_does_not_take_the_files_is_not_waited_for_without_end(pair, monkeypatch):
    leader, _ = pair
    files = deliver.Files(leader)
    now = iter(range(0, 10_000, 100))
    monkeypatch.setattr(deliver.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(deliver.gevent, "sleep", lambda _: None)
    with pytest.raises(ValueError, match="1 workers did not take the files"):
        files.wait()


def test_workers_of_one_machine_need_nothing_of_the_kind(monkeypatch):
    monkeypatch.delenv(pod.FOLDER_VARIABLE, raising=False)
    leader, worker = Runner(), Runner()
    deliver.Files(leader).wait()
    assert not deliver.Delivery(worker).apart
    assert leader.sent == worker.sent == []
