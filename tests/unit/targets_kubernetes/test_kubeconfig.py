"""Kubeconfigs: several as one, and which way each leads."""

import base64
import os
import ssl
from pathlib import Path

import certifi
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


def test_a_file_goes_before_a_token_that_is_written_which_does_where_there_is_none(tmp_path):
    """As with kubectl."""
    found = way(written(tmp_path / "config", {"token": "written", "tokenFile": "token"}))
    assert found.credential() == "Bearer written"
    (tmp_path / "token").write_text("newer\n")
    assert found.credential() == "Bearer newer"


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        (Settings(), ("ann", "devs")),
        (Settings(impersonate="bob"), ("bob", "devs")),  # as Helm, and kubectl, lay flags over it
        (Settings(impersonate="bob", impersonate_groups=("ops",)), ("bob", "ops")),
    ],
)
def test_whom_a_kubeconfig_acts_as_is_whom_helm_does(tmp_path, monkeypatch, settings, shown):
    user = {"token": "own", "as": "ann", "as-groups": ["devs"]}
    monkeypatch.setenv("KUBECONFIG", str(written(tmp_path / "config", user)))
    headers = connect(settings).api._headers({})
    assert (headers["Impersonate-User"], headers["Impersonate-Group"]) == shown


def test_groups_of_nobody_are_not_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(written(tmp_path / "config", {"as-groups": ["devs"]})))
    assert "Impersonate-Group" not in connect(Settings()).api._headers({})


@pytest.mark.parametrize("key", ["as-uid", "as-user-extra"])
def test_a_kubeconfig_that_acts_as_somebody_in_another_way_is_refused(tmp_path, monkeypatch, key):
    user = {"as": "ann", key: {"a": ["b"]}}
    monkeypatch.setenv("KUBECONFIG", str(written(tmp_path / "config", user)))
    with pytest.raises(ClusterError, match=f"by {key}"):
        connect(Settings())


def test_certificates_with_comments_in_any_script_are_read():
    authorities = Path(certifi.where()).read_bytes()
    tls = Api(ServerAccess("https://lab", ca="# Authorité\n".encode() + authorities))._tls
    assert tls.cert_store_stats()["x509_ca"] > 0


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 5000,
        "users: " + "[" * 300 + "]" * 300,
        "a: &a [1]\nb: *c",
        "a: 1\na: 2",
        "- 1",
    ],
    ids=["open", "deep", "unknown", "twice", "list"],
)
def test_a_kubeconfig_that_is_none_is_told_by_its_path(tmp_path, monkeypatch, text):
    file = tmp_path / "config"
    file.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(file))
    with pytest.raises(ClusterError, match="cannot be used") as failed:
        connect(Settings())
    assert str(file) in failed.value.message


@pytest.mark.parametrize("kind", ["pipe", "zero"])
def test_no_file_that_it_names_is_waited_for_or_read_without_end(tmp_path, monkeypatch, kind):
    endless = tmp_path / "endless"
    os.mkfifo(endless) if kind == "pipe" else endless.symlink_to("/dev/zero")
    file = written(tmp_path / "config", cluster={"certificate-authority": str(endless)})
    monkeypatch.setenv("KUBECONFIG", str(file))
    with pytest.raises(ClusterError, match="not a plain file"):
        connect(Settings())
    found = way(written(tmp_path / "other", {"tokenFile": str(endless)}))
    with pytest.raises(ClusterError, match="not a plain file"):
        found.credential()
