"""Load from pods: what is made in the cluster, and how samples come home over bad connections."""

import contextlib
import json
import sys
from types import SimpleNamespace

import kubernetes_validate
import pytest

from deployctl.errors import ClusterError, InterruptedByUserError, TargetError
from deployctl.load import incluster
from deployctl.load import locust as locusts
from deployctl.targets.kubernetes.cluster import ForbiddenError, UnreachableError
from deployctl.targets.kubernetes.load import documents, pods
from deployctl.targets.kubernetes.load.mirror import Mirror
from deployctl.targets.kubernetes.load.pods import LoadPods
from deployctl.targets.loads import LoadEnd, LoadOrder
from deployctl_loadtest import pod

ORDER = LoadOrder(
    name="chat",
    image="deployctl/loadtest:1",
    url="http://chat.llm.svc:8000",
    workers=2,
    options=("--users=2",),
    files={"trace": b"t" * 10},
    secrets={"DEPLOYCTL_LOADTEST_API_KEY": "s3cret"},
    lasts_s=60.0,
    service="chat",
)
OWNER = {"metadata": {"name": "load-chat-abc", "uid": "u-1"}}
JOBS = "/apis/batch/v1/namespaces/llm/jobs"


def made(order=ORDER):
    return [
        documents.master("load-chat-abc", order),
        documents.workers("load-chat-abc", order, OWNER, "10.0.0.9"),
        documents.secret("load-chat-abc", order, OWNER),
        *documents.policies("load-chat-abc", order, OWNER),
    ]


def test_every_object_is_valid_and_goes_with_the_masters_job():
    first, *others = made()
    for each in (first, *others):
        kubernetes_validate.validate(each, "1.37", strict=True)
        assert each["metadata"]["labels"][documents.LOAD] == "load-chat-abc"
    assert {o["metadata"]["ownerReferences"][0]["uid"] for o in others} == {"u-1"}
    for job in (first, others[0]):
        assert job["spec"]["ttlSecondsAfterFinished"] < 60
        assert job["spec"]["activeDeadlineSeconds"] > ORDER.lasts_s


def test_a_worker_that_ends_is_not_replaced_and_takes_no_other_with_it():
    spec = made()[1]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert (spec["completions"], spec["parallelism"], spec["backoffLimitPerIndex"]) == (2, 2, 0)
    assert "backoffLimit" not in spec


def test_a_key_is_in_the_secret_alone():
    first, workers, secret, *policies = made()
    assert "s3cret" in json.dumps(secret)
    assert "s3cret" not in json.dumps([first, workers, policies])


def test_the_policies_open_the_service_to_the_loads_pods_and_to_no_other():
    *_, own, service = made()
    assert service["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "chat"
    (rule,) = service["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {documents.LOAD: "load-chat-abc"}}}]
    assert own["spec"]["ingress"][0]["ports"][0]["port"] == pod.LOCUST_PORT
    assert len(documents.policies("a", ORDER._replace(service=None), OWNER)) == 1


def test_pods_keep_to_the_strictest_level():
    for job in made()[:2]:
        spec = job["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec["automountServiceAccountToken"]
        (container,) = spec["containers"]
        own = container["securityContext"]
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
        assert all(
            set(container["resources"][k]) == {"cpu", "memory"} for k in ("limits", "requests")
        )


def test_a_long_name_makes_no_label_that_is_too_long():
    name = documents.name_of(ORDER._replace(name="m" * 40), "abcdef")
    host = f"{documents.workers(name, ORDER, OWNER, 'a')['metadata']['name']}-255"
    assert len(host) <= 63


@pytest.fixture
def alive(cluster, monkeypatch):
    """A cluster whose Jobs have their pods at once; `cluster.phase` is what becomes of those."""
    create = cluster.create
    cluster.phase = {"phase": "Running", "podIP": "10.0.0.7"}

    def make(path, document):
        found = create(path, {**document, "metadata": {**document["metadata"], "uid": "u-1"}})
        if path == JOBS:
            template, number = document["spec"]["template"], document["spec"].get("completions", 1)
            for index in range(number):
                name = f"{document['metadata']['name']}-{index}"
                meta = {"name": name, "labels": template["metadata"]["labels"]}
                create(cluster.path("v1", "pods"), {"metadata": meta, "status": cluster.phase})
        return found

    @contextlib.contextmanager
    def opened(*_, **__):
        hello = {"version": pod.VERSION, "code": pod.code()}
        yield SimpleNamespace(ask=lambda _: None, answer=lambda: hello)

    monkeypatch.setattr(pods, "opened", opened)
    monkeypatch.setattr(cluster, "create", make)
    return cluster


def test_all_is_there_when_it_has_begun_and_the_jobs_go_at_the_end(alive):
    told = []
    load = LoadPods(alive, ORDER, told.append, sleep=_never)
    load.begin()
    assert "starting 2 workers in namespace llm" in told[0].text
    assert sorted(p.rpartition("/")[2] for p in alive.documents if p.startswith(JOBS)) == [
        load.name,
        f"{load.name}-workers",
    ]
    words = alive.documents[f"{JOBS}/{load.name}-workers"]["spec"]["template"]["spec"]
    assert words["containers"][0]["command"][-1] == "10.0.0.7"
    load.end()
    assert not [path for path in alive.documents if path.startswith(JOBS)]


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("10.96.0.8", "http://10.96.0.8:8000"),
        ("fd00::8", "http://[fd00::8]:8000"),
        ("None", ORDER.url),
    ],
)
def test_a_service_is_asked_by_its_address(alive, address, url):
    spec = {"clusterIP": address}
    alive.documents[alive.path("v1", "services", "chat")] = {"metadata": {}, "spec": spec}
    assert LoadPods(alive, ORDER, _silent)._address() == url
    elsewhere = ORDER._replace(service=None, url="http://h:1")
    assert LoadPods(alive, elsewhere, _silent)._address() == "http://h:1"


def test_what_keeps_a_pod_from_running_is_said_and_nothing_stays(alive):
    waiting = {"reason": "ErrImagePull", "message": "not found"}
    container = {"name": "master", "image": "x:1", "state": {"waiting": waiting}}
    alive.phase = {"phase": "Pending", "containerStatuses": [container]}
    load = LoadPods(alive, ORDER, _silent, sleep=_never)
    with pytest.raises(ClusterError, match="there is no image x:1") as failed:
        load.begin()
    assert "docker/loadtest.Dockerfile" in failed.value.hint
    load.end()
    assert not [path for path in alive.documents if path.startswith(JOBS)]


def test_a_pod_that_may_not_be_made_is_said(alive):
    said = 'pods "x" is forbidden: violates PodSecurity "restricted"'
    alive.phase = {"phase": "Pending"}
    load = LoadPods(alive, ORDER, _silent, sleep=_never)
    event = {"involvedObject": {"name": load.name}, "reason": "FailedCreate", "message": said}
    event |= {"metadata": {"name": "e", "creationTimestamp": "2020-01-01T00:00:00Z"}}
    alive.documents[alive.path("v1", "events", "e")] = event
    with pytest.raises(ClusterError, match="pod security refuses the pod"):
        load.begin()


def test_what_cannot_be_removed_is_said_to_go_by_itself(alive, monkeypatch):
    told = []
    load = LoadPods(alive, ORDER, told.append, sleep=_never)
    load.end()
    assert told == []  # nothing was made
    load.begin()

    def away(*_, **__):
        raise UnreachableError("no answer")

    monkeypatch.setattr(alive, "delete", away)
    load.end()
    assert told[-1].kind == "warning"
    assert "they end by themselves" in told[-1].text


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"phase": "Running"}, ""),
        (None, "its master's pod is gone"),
        ({"phase": "Failed", "reason": "Evicted"}, "its master's pod ended (Evicted)"),
        (
            {
                "phase": "Failed",
                "containerStatuses": [{"state": {"terminated": {"reason": "OOMKilled"}}}],
            },
            "its master's pod ended (out of memory)",
        ),
    ],
)
def test_why_a_master_is_not_asked_again(alive, status, why):
    load = LoadPods(alive, ORDER, _silent, sleep=_never)
    load.begin()
    path = alive.path("v1", "pods", load._master)
    if status is None:
        del alive.documents[path]
    else:
        alive.documents[path]["status"] = status
    assert load._why_gone() == why


def test_a_master_hears_of_us_while_workers_wait_for_a_node(alive, monkeypatch):
    now, heard, passed = [0.0], [], iter(range(6))
    monkeypatch.setattr(pods.time, "monotonic", lambda: now[0])

    @contextlib.contextmanager
    def opened(*_, **__):
        yield SimpleNamespace(
            ask=lambda wanted: heard.append((now[0], wanted["do"])),
            answer=lambda: {"version": pod.VERSION, "code": pod.code(), "locust": "2"},
        )

    monkeypatch.setattr(pods, "opened", opened)
    create = alive.create

    def slow(path, document):
        if document["metadata"]["name"].endswith("-workers"):
            alive.phase = {"phase": "Pending"}
        return create(path, document)

    def sleep(_):
        now[0] += 20.0
        if next(passed) == 4:
            for path, document in alive.documents.items():
                if "/pods/" in path:
                    document["status"] = {"phase": "Running", "podIP": "10.0.0.7"}

    monkeypatch.setattr(alive, "create", slow)
    LoadPods(alive, ORDER, _silent, sleep=sleep).begin()
    assert heard == [(0.0, "hello"), (40.0, "hello"), (80.0, "hello")]


def _never(seconds):
    raise AssertionError("it waits for what is there")


def _silent(_):
    return None


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

    def mirror(self, sleep):
        return Mirror(ORDER, ORDER.url, self.home, self.told.append, sleep, clock=lambda: self.now)

    @contextlib.contextmanager
    def opened(self):
        yield Direct(self)

    def run(self, then=None):
        """Follows it; `then` comes where it sleeps, once all is here: by default the run's end."""

        def sleep(seconds):
            if (self.home / "worker-w-1.json").exists():
                (then or (lambda _: self.go.touch()))(seconds)

        return self.mirror(sleep).run(self.opened, lambda: self.gone)

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
    with pytest.raises(ClusterError, match=r"none of a run: 'evil\.sh'"):
        there.run()
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


def test_a_right_that_is_missing_leaves_nothing(alive, monkeypatch):
    create = alive.create

    def refused(path, document):
        if path.endswith("networkpolicies"):
            raise ForbiddenError("the cluster refuses")
        return create(path, document)

    monkeypatch.setattr(alive, "create", refused)
    load = LoadPods(alive, ORDER, _silent, sleep=_never)
    with pytest.raises(ForbiddenError):
        load.begin()
    load.end()
    assert not [path for path in alive.documents if path.startswith(JOBS)]
