"""As whom a cluster is asked: by requests, by streams and by Helm."""

import sys

import pytest
import urllib3

from deployctl.cli import app
from deployctl.spec.settings import Settings
from deployctl.targets.kubernetes import identity
from deployctl.targets.kubernetes.cluster import Cluster

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: lab
contexts: [{name: lab, context: {cluster: lab, user: lab, namespace: llm}}]
clusters: [{name: lab, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: lab, user: {token: secret}}]
"""
ANN = [("Impersonate-User", "ann"), ("Impersonate-Group", "devs"), ("Impersonate-Group", "ops")]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    file = tmp_path / "config"
    file.write_text(KUBECONFIG)
    monkeypatch.setenv("KUBECONFIG", str(file))
    return Cluster(Settings(impersonate="ann", impersonate_groups=("devs", "ops")))


def test_every_request_says_user_and_each_group(cluster, monkeypatch):
    asked = []

    def request(self, method, url, *, headers, **_):
        asked.append(list(headers.items()))
        raise OSError("no network in unit tests")

    monkeypatch.setattr(urllib3.PoolManager, "request", request)
    with pytest.raises(Exception, match="does not answer"):
        cluster.get(cluster.path("v1", "pods"))
    with pytest.raises(Exception, match="the log ends"):
        list(cluster.follow(cluster.path("v1", "pods", "a") + "/log", container="c", tail=1))
    assert len(asked) == 2
    for headers in asked:
        assert [pair for pair in headers if pair[0].startswith("Impersonate")] == ANN
        assert ("authorization", "Bearer secret") in [(n.lower(), v) for n, v in headers]


def test_a_stream_does_too(cluster, monkeypatch):
    from websocket import WebSocket

    opened = {}
    monkeypatch.setattr(WebSocket, "connect", lambda self, url, **options: opened.update(options))
    cluster.stream(cluster.path("v1", "pods", "a") + "/portforward?ports=8000")
    assert "Impersonate-User: ann" in opened["header"]
    assert "Impersonate-Group: devs" in opened["header"]
    assert "Impersonate-Group: ops" in opened["header"]
    assert "authorization: Bearer secret" in opened["header"]
    assert any("portforward" in line or "channel.k8s.io" in line for line in opened["header"])


def test_helm_does_too():
    assert identity.flags("ann", ("devs",)) == ["--kube-as-user", "ann", "--kube-as-group", "devs"]
    assert identity.flags(None, ()) == []


@pytest.mark.parametrize(
    ("words", "user", "groups"),
    [
        (["--as", "ann", "--as-group", "devs", "--as-group", "ops"], "ann", ("devs", "ops")),
        (["--as", "ann"], "ann", ()),  # the groups of the variable are the other user's
        ([], "bob", ("admins",)),
    ],
)
def test_the_flags_lie_over_the_variables(monkeypatch, tmp_path, words, user, groups):
    from deployctl.operations.deploy import services

    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("DEPLOYCTL_IMPERSONATE", "bob")
    monkeypatch.setenv("DEPLOYCTL_IMPERSONATE_GROUPS", "admins")
    seen = []
    monkeypatch.setattr(services, "records", lambda settings: seen.append(settings) or 1 / 0)
    monkeypatch.setattr(sys, "argv", ["deployctl", "history", "chat", *words])
    with pytest.raises(SystemExit):
        app.main()
    assert (seen[0].impersonate, seen[0].impersonate_groups) == (user, groups)


def test_a_group_without_a_user_is_refused(monkeypatch, capsys):
    monkeypatch.delenv("DEPLOYCTL_IMPERSONATE", raising=False)
    monkeypatch.setattr(sys, "argv", ["deployctl", "history", "chat", "--as-group", "devs"])
    with pytest.raises(SystemExit) as stop:
        app.main()
    assert stop.value.code == 2
    assert "add --as USER" in capsys.readouterr().err
