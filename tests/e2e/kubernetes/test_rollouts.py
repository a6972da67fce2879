"""Rollouts on a cluster that others use too: drift, Helm by hand, several services at once."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.docker_parts import until

ON = ("--target", "kubernetes")
CHART = Path(__file__).resolve().parents[3] / "charts" / "vllm"


@pytest.fixture
def words(namespace, fake_image, tiny_checkpoint):
    return namespace.words(fake_image, tiny_checkpoint)


def changes(namespace, words, code=0):
    done = namespace("diff", *words, "--exit-code", "--output", "json", code=code)
    (service,) = json.loads(done.stdout)["services"]
    return {change["where"]: change for change in service["changes"]}


def test_what_others_changed_is_drift_and_up_overwrites_it(namespace, words):
    namespace("up", *words)
    assert changes(namespace, words) == {}
    namespace.kubectl("scale", "deployment", "chat", "--replicas", "2")
    namespace.kubectl("delete", "networkpolicy", "chat")
    found = changes(namespace, words, code=3)
    assert set(found) == {"Deployment/chat: spec.replicas", "NetworkPolicy/chat"}
    replicas = found["Deployment/chat: spec.replicas"]
    assert (replicas["old"], replicas["new"], replicas["drift"]) == (2, 1, True)
    assert replicas["why"] == "drift: changed in the cluster by kubectl"
    assert found["NetworkPolicy/chat"]["why"] == "drift: removed from the cluster"
    # A change of the spec beside it is no drift.
    wanted = changes(namespace, (*words, "--max-num-seqs", "4"), code=3)
    ours = [each["where"] for each in wanted.values() if not each["drift"]]
    assert [where.rpartition(" ")[2] for where in ours] == ["--max-num-seqs"]

    told = namespace("up", *words).stderr
    assert "warning: overwriting Deployment/chat: spec.replicas: 2 -> 1" in told
    assert changes(namespace, words) == {}
    assert "unchanged" in namespace("up", *words).stderr


@pytest.fixture
def fleet(namespace, fake_image, tiny_checkpoint, tmp_path):
    """Options of `up` for several services, of which the one named `bad` dies while it loads."""

    def fleet(*names):
        small = {
            "resources": {"cpu": "100m" if len(names) > 8 else "300m", "memory": "128Mi"},
        }
        words = namespace.words(fake_image, tiny_checkpoint, values=small)
        file = tmp_path / "fleet.yaml"
        services = [
            {"name": name, "model": str(tiny_checkpoint), "gpu": "cpu", "target": "kubernetes",
             "image": fake_image, "env": {"FAKE_ENGINE_DIE_LOADING": "3"} if name == "bad" else {}}
            for name in names
        ]  # fmt: skip
        file.write_text("\n---\n".join(map(json.dumps, services)))
        return ("up", "-f", file, "--values", words[words.index("--values") + 1])

    return fleet


@pytest.mark.night
def test_twenty_at_once_serve_and_one_that_fails_stops_no_other(namespace, fleet):
    names = [f"chat-{number:02d}" for number in range(19)]
    done = namespace(*fleet(*names[:9], "bad", *names[9:]), "--output", "json", code=4)
    answer = json.loads(done.stdout)
    assert [each["service"] for each in answer["services"]] == names
    assert [each["service"] for each in answer["failed"]] == ["bad"]
    assert len(namespace.get("pods", "--field-selector=status.phase=Running")) == len(names)
    again = namespace(*fleet(*names)).stderr
    assert again.count("unchanged") == len(names)


@pytest.mark.night
def test_several_at_once_and_one_that_fails_stops_no_other(namespace, fleet):
    up = fleet("one", "two", "bad", "four")
    done = namespace(*up, "--output", "json", code=4)
    answer = json.loads(done.stdout)
    assert [each["service"] for each in answer["services"]] == ["one", "two", "four"]
    assert [each["service"] for each in answer["failed"]] == ["bad"]
    assert "1 of 4 services did not come up: bad" in done.stderr
    first = namespace.pods()

    # Ctrl-C in the middle of an update: each is put back.
    begun = subprocess.Popen(
        [sys.executable, "-m", "deployctl", *map(str, up), "--max-num-seqs", "4"],
        env=namespace.environment,
    )
    until(lambda: set(namespace.pods()) - set(first), seconds=120, what="a new pod")
    begun.send_signal(signal.SIGINT)
    assert begun.wait(120) == 130
    until(
        lambda: all(d["status"].get("readyReplicas") for d in namespace.get("deployments")),
        seconds=180, what="all serve as before",
    )  # fmt: skip
    found = json.loads(namespace("status", *ON, "--output", "json", code=None).stdout)["services"]
    health = {each["service"]: (each["revision"], each["health"]) for each in found}
    assert {health[name] for name in ("one", "two", "four")} == {(1, "serving")}


def helm(namespace, *words):
    """Another's hand."""
    subprocess.run(
        ["helm", "--namespace", namespace.name, *map(str, words)],
        env=namespace.environment, check=True, stdout=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    namespace.kubectl("rollout", "status", "deployment/chat", "--timeout=120s")


@pytest.mark.night
def test_what_others_did_with_helm_is_drift_and_up_overwrites_it(namespace, words):
    four = (*words, "--max-num-seqs", "4")
    namespace("up", *words)
    namespace("up", *four)
    helm(namespace, "rollback", "chat", "1")
    (seen,) = json.loads(namespace("status", "--output", "json").stdout)["services"]
    for status in (seen, namespace.status("chat")):
        assert (status["health"], status["revision"]) == ("serving", 2)
        assert "went back to revision 1 with Helm" in status["detail"]
    assert namespace.history() == ["superseded", "deployed"]
    found = changes(namespace, four, code=3)
    assert all(change["drift"] for change in found.values())
    assert "--max-num-seqs" in {where.rpartition(" ")[2] for where in found}
    assert "warning: overwriting Deployment/chat" in namespace("up", *four).stderr
    assert changes(namespace, four) == {}
    assert namespace.history() == ["superseded", "superseded", "deployed"]

    # An upgrade by hand, with a value more.
    helm(namespace, "upgrade", "chat", CHART, "--reuse-values", "--set", "replicas=2")
    found = changes(namespace, four, code=3)
    assert found["Deployment/chat: spec.replicas"]["drift"]
    assert "overwriting Deployment/chat: spec.replicas: 2 -> 1" in namespace("up", *four).stderr
    assert len(namespace.pods()) == 1
    assert "unchanged" in namespace("up", *four).stderr

    # Gone back once more, it goes down whole.
    helm(namespace, "rollback", "chat", "1")
    namespace("down", "chat", "--volumes", *ON)
    assert (namespace.belongings(), namespace.pods()) == (set(), {})
