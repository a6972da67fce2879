"""Load from pods on a real Kubernetes: what two workers measured comes home whole, whatever becomes
of the pods, the way to them or whoever asked; and nothing stays.
"""

import json
import signal
import subprocess
import sys
from itertools import pairwise

import pytest
from tests.e2e.docker_parts import until
from tests.e2e.kubernetes.way import Way

RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
# Nothing may come in or go out unless a policy of its own lets it, where policies are enforced.
NOTHING = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nothing}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
"""
CLIENTS = {"networkPolicy": {"clients": [{"podLabels": {"app": "gateway"}}]}}
GONE_SECONDS = 60


class Load:
    """`loadtest --on kubernetes` of the one service, and what is there of it."""

    def __init__(self, namespace, image, out):
        self.namespace, self.image, self.out = namespace, image, out
        self.before = namespace.kinds()

    def words(self, *more):
        return (
            *("loadtest", "chat", "--on", "kubernetes", "--worker-image", self.image),
            *("--workers", "2", "--output-tokens", "8", "--out", self.out, *more),
        )

    def start(self, *more):
        """In the background, once it measures."""
        words = [sys.executable, "-m", "deployctl", *map(str, self.words(*more))]
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=self.namespace.environment,
        )  # fmt: skip

        def measures():
            return process.poll() is not None or len([*self.out.glob("samples-*.jsonl")]) == 2

        until(measures, seconds=120, what="samples of both workers are here")
        assert process.poll() is None, process.communicate()
        return process

    def ended(self, process, code):
        _, stderr = process.communicate(timeout=180)
        assert process.returncode == code, stderr
        assert "Traceback" not in stderr
        return self.result()

    def result(self):
        return json.loads((self.out / "summary.json").read_text())

    def samples(self):
        return [json.loads(n) for n in (self.out / "requests.jsonl").read_text().splitlines()]

    def here(self):
        """Bytes of raw samples that have come home."""
        return sum(path.stat().st_size for path in self.out.glob("samples-*.jsonl"))

    def there(self):
        """The same in the master's pod."""
        show = "cat /load/result/samples-*.jsonl | wc -c"
        return int(self.namespace.kubectl("exec", self.pod("master"), "--", "sh", "-c", show))

    def pod(self, part):
        """The name of one of its pods."""
        return self.namespace.get("pods", f"--selector=deployctl.io/load-part={part}")[0][
            "metadata"
        ]["name"]

    def kill(self, part):
        """One of its pods, as a node that dies would."""
        name = self.pod(part)
        self.namespace.kubectl("delete", "pod", name, "--force", "--grace-period=0")
        return name

    def leaves_nothing(self, seconds=GONE_SECONDS):
        def gone():
            pods = self.namespace.kubectl(
                "get", "pods", "--selector=deployctl.io/load", "-o", "name"
            )
            return not pods.strip() and self.namespace.kinds() == self.before

        until(gone, seconds=seconds, what="nothing of the load is there")


@pytest.fixture
def load(namespace, fake_image, load_image, tiny_checkpoint, tmp_path):
    namespace.words(fake_image, tiny_checkpoint, values=CLIENTS)
    namespace.up()
    yield Load(namespace, load_image, tmp_path / "out")
    for log in (tmp_path / "out").glob("*.log"):  # for a test that failed
        print(log.read_text()[-4000:])


def codes(result):
    return {verdict["code"]: verdict["text"] for verdict in result["verdicts"]}


def test_two_workers_share_a_schedule_and_every_sample_comes_home(load):
    # The strictest that a namespace can be, to pods and between them.
    load.namespace.cluster.kubectl("label", "namespace", load.namespace.name, RESTRICTED)
    load.namespace.kubectl("apply", "--filename", "-", data=NOTHING)
    load.before = load.namespace.kinds()
    done = load.namespace(
        *load.words("--rate", "20", "--arrivals", "constant", "--duration", "5s"),
        *("--warmup", "1s", "--seed", "5", "--workload", "chat"),
    )
    result, samples = load.result(), load.samples()
    assert (result["setup"]["on"], result["setup"]["workers"]) == ("kubernetes", 2)
    assert result["setup"]["url"] == f"http://chat.{load.namespace.name}.svc:8000"
    assert result["requests"]["failures"] == []
    client = result["client"]
    assert (client["lost_samples"], client["died"], client["dropped"]) == (0, [], 0)
    assert client["sent"] == client["due"] == 100
    # One schedule, of which each worker has every second arrival.
    times = {}
    for sample in samples:
        times.setdefault(sample["worker"], []).append(sample["scheduled_at_s"])
    due = sorted(sample["scheduled_at_s"] for sample in samples)
    assert due == [pytest.approx(n / 20) for n in range(120)]
    for own in times.values():
        assert {round(b - a, 3) for a, b in pairwise(own)} == {0.1}
    # What the engine says that it sent is what came home.
    server = result["server"]
    assert server["client_output_tokens"] == pytest.approx(server["output_tokens"], abs=32)
    assert "from 2 pods" in done.stdout
    assert "requests done" in done.stderr
    load.leaves_nothing()


@pytest.mark.night
def test_ctrl_c_keeps_what_was_measured(load):
    process = load.start("--users", "4", "--duration", "5m", "--warmup", "0s")
    process.send_signal(signal.SIGINT)
    result = load.ended(process, 130)
    assert result["interrupted"]
    assert result["client"]["lost_samples"] == 0
    assert result["client"]["died"] == []
    assert len({sample["worker"] for sample in load.samples()}) == 2
    load.leaves_nothing()


@pytest.mark.night
def test_ctrl_c_before_it_begins_leaves_nothing(load):
    words = [sys.executable, "-m", "deployctl", *map(str, load.words("--users", "2"))]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, env=load.namespace.environment)
    until(lambda: load.namespace.get("jobs"), seconds=60, what="a Job is there")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    load.leaves_nothing()


@pytest.mark.night
def test_a_worker_that_is_killed_is_named_and_the_other_goes_on(load):
    process = load.start("--users", "4", "--duration", "20s", "--warmup", "0s")
    load.kill("workers")
    result = load.ended(process, 0)
    (name,) = result["client"]["died"]
    assert "1 of 2 load processes were killed" in codes(result)["worker_died"]
    survivor = {s["worker"] for s in load.samples() if s["started_at_s"] > 15}
    assert len(survivor) == 1
    assert not name.startswith(survivor.pop())
    load.leaves_nothing()


@pytest.mark.night
def test_a_master_that_is_killed_leaves_what_had_come_home(load):
    process = load.start("--users", "4", "--duration", "5m", "--warmup", "0s")
    load.kill("master")
    result = load.ended(process, 0)
    assert "its master's pod" in codes(result)["load_lost"]
    assert not result["trustworthy"]
    assert result["requests"]["ok"] > 0
    load.leaves_nothing()


@pytest.mark.night
def test_a_connection_that_is_lost_for_a_while_costs_nothing(load, tmp_path):
    with Way(load.namespace.cluster, tmp_path) as way:
        load.namespace.environment |= way.environment
        process = load.start("--users", "4", "--duration", "30s", "--warmup", "0s")
        way.cut()
        until(lambda: load.there() > load.here() + 20_000, seconds=60,
              what="samples wait for the way")  # fmt: skip
        way.mend()
        result = load.ended(process, 0)
    assert "load_lost" not in codes(result)
    assert (result["client"]["lost_samples"], result["client"]["died"]) == (0, [])
    assert result["window_s"][1] == 30
    load.leaves_nothing()


@pytest.mark.night
def test_of_a_deployctl_that_is_killed_nothing_stays(load):
    process = load.start("--users", "4", "--duration", "1h", "--warmup", "0s")
    process.kill()
    process.communicate()
    load.leaves_nothing(seconds=300)  # two minutes without a word, and the Job's own time
