"""What a load in pods measured comes home, over bad connections too."""

import contextlib
import json
import sys

import pytest
from tests.unit.targets_kubernetes.load_order import ORDER

from deployctl.errors import ClusterError, InterruptedByUserError, TargetError
from deployctl.load import incluster
from deployctl.load import locust as locusts
from deployctl.targets.kubernetes.cluster import UnreachableError
from deployctl.targets.kubernetes.load.mirror import Mirror
from deployctl.targets.loads import LoadEnd
from deployctl_loadtest import pod

# A run's samples, from the code that hands them over in the pod.

PROGRAM = """
import pathlib, sys, time
sys.stdout.write('@progress {"at_s": 1.0, "users": 2, "done": 5, "failed": 0, "chunks": 9}\\n')
sys.stdout.flush()
pathlib.Path("samples-w-1.jsonl").write_text('{"a": 1}\\n' * 1000)
pathlib.Path("worker-w-1.json").write_text("{}")
go = pathlib.Path("../go")
while not go.exists():
    time.sleep(0.01)
"""


class Direct:
    """A stream to the pod's own code, which breaks before answers as `there.breaks` has it."""

    def __init__(self, there):
        self._there, self._master = there, there.master
        self._answers, self._put, self._came = [], None, b""

    def ask(self, wanted):
        if wanted["do"] == "put":
            self._put, self._came = wanted, b""
        else:
            self._do(wanted)

    def send(self, data):
        self._came += bytes(data)

    def answer(self):
        if self._put is not None:
            wanted, self._put = self._put, None
            self._do(wanted)
        if self._there.breaks and self._there.breaks.pop(0):
            raise UnreachableError("the stream to the pod was lost")
        return json.loads(json.dumps(self._answers.pop(0)))

    def _do(self, wanted):
        def fill(buffer):
            got = min(len(buffer), len(self._came))
            buffer[:got], self._came = self._came[:got], self._came[got:]
            return got

        self._master.answer(json.dumps(wanted).encode(), self._answers.append, fill)


class There:
    """A master's pod, and whoever follows it from here."""

    def __init__(self, folder):
        (folder / "home").mkdir()
        self.go, self.home = folder / "there/go", folder / "home"
        command = [sys.executable, "-c", PROGRAM]
        self.master = pod.Master(folder / "there/files", folder / "there/result", command)
        self.breaks, self.told, self.gone, self.now = [], [], "", 0.0
        self.refuses = None  # what a connection is refused with

    def mirror(self, sleep):
        return Mirror(ORDER, ORDER.url, self.home, self.told.append, sleep, clock=lambda: self.now)

    @contextlib.contextmanager
    def opened(self):
        if self.refuses is not None:
            raise self.refuses
        yield Direct(self)

    def why_gone(self):
        if isinstance(self.gone, Exception):
            raise self.gone
        return self.gone

    def run(self, then=None):
        """Follows it; `then` comes where it sleeps, once all is here: by default the run's end."""

        def sleep(seconds):
            if (self.home / "worker-w-1.json").exists():
                (then or (lambda _: self.go.touch()))(seconds)

        return self.mirror(sleep).run(self.opened, self.why_gone)

    def whole(self):
        there, here = (
            {path.name: path.read_bytes() for path in folder.iterdir() if path.stat().st_size}
            for folder in (self.go.parent / "result", self.home)
        )
        return there == here


@pytest.fixture
def there(tmp_path):
    found = There(tmp_path)
    yield found
    found.go.touch()
    found.master.close()


def test_every_byte_comes_home(there, tmp_path):
    end = there.run()
    assert (end.code, end.interrupted, end.lost, end.unwritten) == (0, False, None, None)
    assert end.locust
    assert end.began_s <= -1.0  # of a clock that stood at 0: the run was a second old
    assert there.whole()
    assert there.told[0]["done"] == 5
    assert (tmp_path / "there/files/trace").read_bytes() == b"t" * 10
    assert there.master.left


def test_a_connection_that_breaks_at_any_answer_costs_nothing(there, monkeypatch):
    monkeypatch.setattr(pod, "MOST", 2000)
    there.breaks += [True, False, True, False, False, True, False, False, False, True]
    end = there.run()
    assert end.code == 0
    assert there.whole()


def test_a_master_that_is_gone_leaves_what_came_home(there):
    def sleep(_):
        there.breaks, there.gone = [True] * 9, "its master's pod is gone"

    end = there.run(sleep)
    assert (end.code, end.lost) == (None, "its master's pod is gone")
    assert len((there.home / "samples-w-1.jsonl").read_text().splitlines()) == 1000
    there.breaks = [True]
    with pytest.raises(ClusterError, match="did not begin: its master's pod is gone"):
        there.run(sleep)


def test_an_api_server_that_stays_away_is_given_up(there):
    def sleep(_):
        there.breaks = [True] * 9
        there.now += 60.0

    end = there.run(sleep)
    assert end.lost == "the stream to the pod was lost, for 120 s"


REFUSED = ClusterError("the cluster refuses (HTTP 401): Unauthorized")


@pytest.mark.parametrize("gone", ["", REFUSED])  # REFUSED: nor may we look at the pod
def test_a_cluster_that_refuses_us_in_the_midst_leaves_what_came_home(there, gone):
    def sleep(_):
        there.breaks, there.refuses, there.gone = [True], REFUSED, gone

    end = there.run(sleep)
    assert (end.code, end.lost) == (None, REFUSED.message)
    assert len((there.home / "samples-w-1.jsonl").read_text().splitlines()) == 1000
    with pytest.raises(ClusterError, match="HTTP 401"):  # and nothing begins
        there.run(sleep)


def test_ctrl_c_while_the_cluster_is_away_ends_the_run_in_order_too(there):
    waits = iter([None, KeyboardInterrupt])

    def sleep(_):
        for press in waits:
            if press is not None:
                raise press
            there.breaks = [True]
            return

    end = there.run(sleep)
    assert (end.interrupted, end.code, end.lost) == (True, -15, None)
    assert there.whole()


class Torn(dict):
    """Bytes that are here; Ctrl-C comes once, before or after they are counted."""

    def __init__(self, *, before):
        super().__init__()
        self._presses = [before, not before]

    def __setitem__(self, name, value):
        if name.startswith("samples") and self._presses == [True, False]:
            self._presses.clear()
            raise KeyboardInterrupt
        super().__setitem__(name, value)
        if name.startswith("samples") and self._presses:
            self._presses.clear()
            raise KeyboardInterrupt


@pytest.mark.parametrize("before", [True, False])
def test_ctrl_c_between_writing_and_counting_leaves_no_hole(there, monkeypatch, before):
    monkeypatch.setattr(pod, "MOST", 2000)
    mirror = there.mirror(lambda _: None)
    mirror._have = Torn(before=before)
    end = mirror.run(there.opened, there.why_gone)
    assert (end.interrupted, end.lost) == (True, None)
    assert there.whole()


def test_ctrl_c_ends_the_run_in_order_and_a_second_one_leaves_it(there):
    presses = iter([KeyboardInterrupt])

    def sleep(_):
        for press in presses:
            raise press

    end = there.run(sleep)
    assert (end.interrupted, end.code, end.lost) == (True, -15, None)
    assert there.whole()


def test_a_second_ctrl_c_is_not_waited_for(there):
    def sleep(_):
        raise KeyboardInterrupt

    there.master.stop = lambda: None
    with pytest.raises(KeyboardInterrupt):
        there.run(sleep)


def test_a_full_disk_here_ends_the_run_there(there):
    (there.home / "samples-w-1.jsonl").mkdir()  # nothing can be written to it
    stopped, stop = [], there.master.stop
    there.master.stop = lambda: (stopped.append(True), stop())
    assert there.run().unwritten == "Is a directory"
    assert stopped


def test_a_name_that_is_none_of_a_run_is_not_written(there):
    there.go.parent.joinpath("result/evil.sh").write_text("x")
    assert there.run().lost.endswith("none of a run: 'evil.sh'")
    assert not (there.home / "evil.sh").exists()


def test_pods_of_another_release_are_refused(there, monkeypatch):
    codes = iter(["theirs", "ours"])
    monkeypatch.setattr(pod, "code", lambda: next(codes))
    with pytest.raises(ClusterError, match="measures with other code"):
        there.run()


class Maker:
    """What makes a load, without a cluster."""

    def __init__(self, end, folder, files=()):
        self.end_of, self.folder, self.files, self.done = end, folder, files, []

    def begin(self):
        self.done.append("begin")

    def run(self, folder, told):
        for name in self.files:
            (folder / name).write_text("{}")
        return self.end_of

    def end(self):
        self.done.append("end")


@pytest.mark.parametrize(
    ("end", "error", "why"),
    [
        (LoadEnd(None, lost="it is gone"), TargetError, "lost before anything was measured"),
        (LoadEnd(0, interrupted=True), InterruptedByUserError, "before anything"),
        (LoadEnd(1), TargetError, "exit code 1"),
    ],
)
def test_a_run_that_left_nothing_is_an_error_and_its_pods_go(
    tmp_path, monkeypatch, end, error, why
):
    maker = Maker(end, tmp_path)
    monkeypatch.setattr(incluster, "open_load", lambda *_: maker)
    monkeypatch.setattr(incluster, "order_of", lambda *_: None)
    (tmp_path / pod.LOG).write_text("last words")
    with pytest.raises(error, match=why), incluster.ready(None, tmp_path, None) as run:
        run()
    assert maker.done == ["begin", "end"]


def test_a_run_that_left_samples_is_a_run(tmp_path, monkeypatch):
    maker = Maker(LoadEnd(None, lost="it is gone", began_s=3.0), tmp_path, ["worker-a.json"])
    monkeypatch.setattr(incluster, "open_load", lambda *_: maker)
    monkeypatch.setattr(incluster, "order_of", lambda *_: None)
    with incluster.ready(None, tmp_path, None) as run:
        assert run() == locusts.Ended(False, lost="it is gone", began_s=3.0)
