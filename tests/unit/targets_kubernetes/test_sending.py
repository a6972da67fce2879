"""Files on their way to a claim, which is a folder here: cut, wrong, changed, too large."""

import contextlib
import hashlib
import json
import queue
import threading
from types import SimpleNamespace

import pytest

from deployctl.errors import ModelError, TargetError
from deployctl.targets.driver import ModelFile
from deployctl.targets.kubernetes.checkpoint import receiver
from deployctl.targets.kubernetes.checkpoint import sending as module
from deployctl.targets.kubernetes.checkpoint.claim import Cargo
from deployctl.targets.kubernetes.checkpoint.sending import Sending
from deployctl.targets.kubernetes.cluster import UnreachableError

CONTENTS = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 4096}
LARGE = len(CONTENTS["model.safetensors"])


class Direct:
    """A stream to the receiver's own code, in a thread."""

    def __init__(self, folder, breaks_after=None):
        self._folder = folder
        self._left = breaks_after
        self._answers, self._blocks, self._rest = queue.Queue(), queue.Queue(), b""

    def ask(self, wanted):
        words = (self._folder, json.dumps(wanted).encode(), self._answers.put, self._fill)
        self.thread = threading.Thread(target=receiver.answer, args=words, daemon=True)
        self.thread.start()

    def send(self, data):
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise UnreachableError("lost")
        self._blocks.put(bytes(data))

    def answer(self):
        return self._answers.get(timeout=30)

    def has_answer(self):
        return not self._answers.empty()

    def cut(self):
        self._blocks.put(b"")

    def _fill(self, buffer):
        self._rest = self._rest or self._blocks.get(timeout=30)
        took = min(len(buffer), len(self._rest))
        buffer[:took] = self._rest[:took]
        self._rest = self._rest[took:]
        return took


@pytest.fixture
def cargo(tmp_path):
    folder = tmp_path / "awq"
    folder.mkdir()
    files = []
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
        files.append(ModelFile(name, len(content), hashlib.sha256(content).hexdigest()))
    return Cargo(folder, "0" * 64, files)


@pytest.fixture
def claim(tmp_path):
    return receiver.ClaimFolder(str(tmp_path / "claim"))


def opened(claim, **more):
    @contextlib.contextmanager
    def connect():
        direct = Direct(claim, **more)
        try:
            yield direct
        finally:
            direct.cut()
            direct.thread.join(30)

    return connect


def send(cargo, claim, told=lambda _: None, **more):
    sending = Sending(cargo, "model-0", told)
    try:
        sending.send(opened(claim, **more))
    finally:
        claim.sent = sending.sent
    return sending.sent


def on(claim):
    return {
        path.relative_to(claim.root).as_posix(): path.read_bytes()
        for path in claim.root.rglob("*")
        if path.is_file() and receiver.OURS not in path.parts
    }


def test_a_file_that_is_there_whole_is_not_sent_again(cargo, claim):
    told = []
    assert send(cargo, claim, told.append) == LARGE + 2
    assert on(claim) == CONTENTS
    assert "sending 1.0 MiB of awq to claim model-0" in told[0].text
    assert told[-1].detail.done == told[-1].detail.total == LARGE + 2
    later = receiver.ClaimFolder(str(claim.root))
    assert send(cargo, later) == 0
    assert on(later) == CONTENTS


def test_of_a_file_that_was_cut_only_the_rest_is_sent(cargo, claim, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 4096)
    with pytest.raises(UnreachableError):
        send(cargo, claim, breaks_after=LARGE // 2)
    assert set(on(claim)) <= {"config.json"}, "half a file has no name"
    there = sum(path.stat().st_size for path in claim.parts.iterdir())
    assert there > 0
    told = []
    rest = send(cargo, receiver.ClaimFolder(str(claim.root)), told.append)
    assert on(claim) == CONTENTS
    assert rest in (LARGE - there, LARGE - there + 2)
    assert "are there" in told[0].text


def test_a_part_of_something_else_is_sent_from_the_beginning(cargo, claim):
    file = cargo.files[1]
    claim.part([file.name, file.size, file.sha256]).write_bytes(b"something else")
    assert send(cargo, claim) == LARGE - 14 + LARGE + 2
    assert on(claim) == CONTENTS


def test_a_file_changed_while_it_is_sent_is_refused(cargo, claim):
    path = cargo.folder / "model.safetensors"
    path.write_bytes(b"\0" * LARGE)
    with pytest.raises(ModelError, match="changed while it was sent") as refused:
        send(cargo, claim)
    assert refused.value.where == str(path)
    path.write_bytes(b"\0")  # shorter
    with pytest.raises(ModelError, match="changed while it was sent"):
        send(cargo, claim)
    assert "model.safetensors" not in on(claim)


def test_no_byte_is_sent_where_there_is_no_room(cargo, claim, monkeypatch):
    monkeypatch.setattr(receiver.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(TargetError, match=r"1\.0 MiB are to come and 1000 B are free"):
        send(cargo, claim)
    assert claim.sent == 0


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (28, "the claim is full"),
        (30, "cannot be written: Read-only"),
        (5, "fails: io Input/output"),
    ],
)
def test_what_the_claim_s_disk_says(cargo, claim, monkeypatch, number, says):
    def fails(*_):
        raise OSError(number, {30: "Read-only file system", 5: "Input/output error"}.get(number))

    monkeypatch.setattr(claim, "_take", fails)
    with pytest.raises(TargetError, match=says) as refused:
        send(cargo, claim)
    assert "claim model-0" in str(refused.value.where)
    assert on(claim) == {}


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "", ".deployctl/files.json", "a//b"])
def test_no_name_leads_out_of_the_claim(claim, name):
    answers = []
    row = [name, 1, "0" * 64]
    wanted = json.dumps({"do": "look", "files": [row]}).encode()
    claim.known[name] = "0" * 64
    assert not receiver.answer(claim, wanted, answers.append, None)
    assert answers == [{"error": "name", "file": name}]


def test_what_is_sealed_is_all_there(cargo, claim):
    send(cargo, claim)
    (claim.root / "config.json").unlink()
    answers = []
    rows = [[file.name, file.size, file.sha256] for file in cargo.files]
    assert not receiver.answer(
        claim, json.dumps({"do": "seal", "files": rows}).encode(), answers.append, None
    )
    assert answers == [{"error": "missing", "file": "config.json"}]
