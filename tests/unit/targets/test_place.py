"""Where a target is, as every machine names it: by what a gate's results are told apart."""

import json

import pytest

from deployctl.spec.settings import Settings
from deployctl.targets import place
from deployctl.targets.kubernetes.cluster import cluster_of


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ssh://ops@gpu-1", "ssh://ops@gpu-1"),
        ("tcp://10.0.0.7:2376", "tcp://10.0.0.7:2376"),
        ("unix:///var/run/docker.sock", ""),
    ],
)
def test_an_engine_is_named_where_it_is_another_machine_s(monkeypatch, url, told):
    monkeypatch.setenv("DOCKER_HOST", url)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    assert place("docker", Settings()) == told
    assert place("process", Settings()) == ""


def test_a_cluster_is_named_by_its_server_and_the_namespace(monkeypatch, tmp_path):
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": "https://k8s.example:6443"}}],
        "users": [{"name": "a", "user": {"token": "t"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a", "namespace": "chat"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    cluster_of.cache_clear()
    try:
        assert place("kubernetes", Settings()) == "https://k8s.example:6443 chat"
        elsewhere = Settings().in_cluster(None, "staging")
        assert place("kubernetes", elsewhere) == "https://k8s.example:6443 staging"
    finally:
        cluster_of.cache_clear()
