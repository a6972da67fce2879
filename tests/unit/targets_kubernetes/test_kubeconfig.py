"""Kubeconfigs: several as one, and which way each leads."""

import base64
import ssl

import pytest
import yaml

from deployctl.errors import ClusterError
from deployctl.spec.settings import Settings
from deployctl.targets.kubernetes import connection, kubeconfig
from deployctl.targets.kubernetes.api import Api
from deployctl.targets.kubernetes.connection import connect
from deployctl.targets.kubernetes.kubeconfig import ServerAccess


def written(file, user=None, cluster=None, name="lab", current="lab"):
    """A file with one context."""
    document = {
        "current-context": current,
        "contexts": [{"name": name, "context": {"cluster": name, "user": "me"}}],
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}/", **(cluster or {})}}],
        "users": [{"name": "me", "user": user or {}}],
    }
    file.write_text(yaml.safe_dump(document))
    return file


def way(file, context="lab"):
    return kubeconfig.access_of(kubeconfig.read([file]), context)


def test_of_several_files_the_first_that_names_a_thing_holds(tmp_path, monkeypatch):
    first = written(tmp_path / "a", {"token": "first"}, current="")
    second = written(tmp_path / "b", {"token": "second"}, name="prod", current="prod")
    third = written(tmp_path / "c", name="lab", cluster={"server": "https://other"})
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path / 'none'}::{second}:{third}")
    files = kubeconfig.files(kubeconfig.location())
    assert files == [first, second, third]
    config = kubeconfig.read(files)
    assert config.current == "prod"
    assert kubeconfig.access_of(config, "lab").host == "https://lab"
    assert kubeconfig.access_of(config, "prod").credential() == "Bearer first"


def test_what_is_written_goes_before_a_file_whose_path_starts_at_the_kubeconfig(tmp_path):
    (tmp_path / "own.crt").write_text("a certificate")
    (tmp_path / "own.key").write_text("a key")
    data = base64.b64encode(b"an authority").decode()
    found = way(
        written(
            tmp_path / "config",
            {"client-certificate": "own.crt", "client-key": "own.key"},
            {"certificate-authority-data": data, "certificate-authority": "none",
             "tls-server-name": "kubernetes", "proxy-url": "http://proxy:3128"},
        )
    )  # fmt: skip
    assert (found.ca, found.certificate, found.key) == (b"an authority", b"a certificate", b"a key")
    assert (found.server_name, found.proxy, found.verified) == (
        "kubernetes",
        "http://proxy:3128",
        True,
    )
    assert found.credential() is None


def test_a_token_in_a_file_is_read_each_time(tmp_path):
    (tmp_path / "token").write_text("old\n")
    found = way(written(tmp_path / "config", {"tokenFile": "token"}))
    assert found.credential() == "Bearer old"
    (tmp_path / "token").write_text("new\n")
    assert found.credential() == "Bearer new"
    (tmp_path / "token").unlink()
    with pytest.raises(ClusterError, match="no token") as failed:
        found.credential()
    assert failed.value.where == str(tmp_path / "token")


def test_a_certificate_that_is_not_to_be_checked(tmp_path):
    found = way(written(tmp_path / "config", cluster={"insecure-skip-tls-verify": True}))
    assert not found.verified
    assert Api(found)._tls.verify_mode is ssl.CERT_NONE
    assert Api(found._replace(verified=True))._tls.verify_mode is ssl.CERT_REQUIRED


def test_a_command_that_gives_a_token_is_run(tmp_path, monkeypatch):
    version = "client.authentication.k8s.io/v1"
    answer = (
        f'{{"apiVersion": "{version}", "kind": "ExecCredential", "status": {{"token": "own"}}}}'
    )
    (tmp_path / "plugin").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (tmp_path / "plugin").chmod(0o700)
    command = {"exec": {"apiVersion": version, "command": str(tmp_path / "plugin")}}
    monkeypatch.setenv("KUBECONFIG", str(written(tmp_path / "config", command)))
    assert connect(Settings()).api._headers({})["authorization"] == "Bearer own"


def test_inside_a_pod_it_is_what_the_pod_was_given(tmp_path, monkeypatch):
    for name, text in (("namespace", "llm\n"), ("token", "own"), ("ca.crt", "")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(connection, "_IN_A_POD", tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    found = connect(Settings())
    assert (found.api.host, found.context, found.namespace) == ("https://[fd00::1]:443", "", "llm")
    assert found.api._headers({})["authorization"] == "Bearer own"


@pytest.mark.parametrize(
    ("named", "left_out", "expected"),
    [
        (None, None, "http://usual:1"),
        (None, "lab,10.0.0.0/8", "http://usual:1"),
        (None, "lab,192.168.0.0/16", None),
        (None, "192.168.1.2", None),
        ("http://own:2", "192.168.1.2", "http://own:2"),
    ],
)
def test_the_proxy_is_the_cluster_s_own_or_the_usual_one(monkeypatch, named, left_out, expected):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert Api(ServerAccess("https://192.168.1.2:6443"))._proxy is None
    monkeypatch.setenv("https_proxy", "http://usual:1")
    if left_out:
        monkeypatch.setenv("no_proxy", left_out)
    assert Api(ServerAccess("https://192.168.1.2:6443", proxy=named))._proxy == expected
