"""How helm is run where it changes something: never longer than we are, and by what it says."""

import subprocess
import sys

import pytest

from deployctl.errors import TargetError
from deployctl.targets import helm


@pytest.fixture
def ran(monkeypatch):
    """helm as what it says on its standard error, or an exception; and how it was called."""
    calls = []

    def install(stderr="", error=None):
        def run(argv, **_):
            calls.append(argv)
            if error is not None and "upgrade" in argv:
                raise error
            said = "v4.3.1" if "version" in argv else ""
            failed = bool(stderr) and "version" not in argv
            return subprocess.CompletedProcess(argv, int(failed), said, stderr)

        helm._version.cache_clear()
        monkeypatch.setattr(helm.shutil, "which", lambda name: f"/bin/{name}")
        monkeypatch.setattr(helm.subprocess, "run", run)
        return calls

    yield install
    helm._version.cache_clear()


def upgrade():
    helm.upgrade("chart", "a: 1", name="chat", where=["--namespace", "llm"], labels={"a": "b"})


@pytest.mark.skipif(sys.platform != "linux", reason="a leash is Linux's")
def test_what_changes_a_cluster_is_killed_with_us(ran):
    calls = ran()
    upgrade()
    helm.uninstall("chat", [])
    helm.template("chart", "", name="chat", namespace="llm")
    changing = [argv for argv in calls if {"upgrade", "uninstall"} & set(argv)]
    assert [argv[0] for argv in changing] == [sys.executable] * 2
    assert all("/bin/helm" in argv for argv in changing)
    assert calls[-1][:2] == ["/bin/helm", "template"]


@pytest.mark.parametrize(
    "said",
    [
        'Error: Kubernetes cluster unreachable: Get "https://h": connection refused',
        "Error: UPGRADE FAILED: etcdserver: request timed out",
        'Error: Patch "https://h/apis": unexpected EOF',
        "Error: the server is currently unable to handle the request",
    ],
)  # fmt: skip
def test_an_api_server_that_is_away_is_told_from_one_that_refuses(ran, said):
    ran(said)
    with pytest.raises(helm.AwayError, match="did not answer Helm"):
        upgrade()


def test_one_that_never_ends_is_as_one_that_is_away(ran):
    ran(error=subprocess.TimeoutExpired("helm", 60))
    with pytest.raises(helm.AwayError, match="did not end within"):
        upgrade()


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ('Error: admission webhook "x" denied the request: no', "do what it asks for"),
        (
            'Error: failed calling webhook "x": dial tcp: connect: connection refused',
            "it does not answer",
        ),
    ],
)
def test_what_a_webhook_says_is_no_outage(ran, said, hint):
    ran(said)
    with pytest.raises(TargetError, match="the cluster refuses what Helm brings") as caught:
        upgrade()
    assert not isinstance(caught.value, helm.AwayError)
    assert hint in caught.value.hint
    assert "shows whose x is" in caught.value.hint
