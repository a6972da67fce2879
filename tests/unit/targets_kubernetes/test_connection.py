"""The way to a cluster: what is said where a kubeconfig is missing, broken or names none."""

import sys

import pytest
import yaml

from deployctl.cli import app
from deployctl.errors import ClusterError
from deployctl.spec.settings import Settings
from deployctl.targets.kubernetes.connection import connect


def kubeconfig(current="prod", user=None):
    """Two contexts of one cluster; of a third the cluster is missing."""
    places = {"prod": ("here", "llm"), "lab": ("here", None), "noc": ("gone", None)}
    return yaml.safe_dump(
        {
            "current-context": current,
            "contexts": [
                {"name": name, "context": {"cluster": at, "user": "me", "namespace": namespace}}
                for name, (at, namespace) in places.items()
            ],
            "clusters": [{"name": "here", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "me", "user": user or {"token": "secret"}}],
        }
    )


@pytest.fixture
def file(tmp_path, monkeypatch):
    file = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(file))
    return file


@pytest.mark.parametrize(
    ("current", "asked", "context", "namespace"),
    [("prod", None, "prod", "llm"), ("prod", "lab", "lab", None), ("", "prod", "prod", "llm")],
)
def test_the_context_is_the_one_that_is_named_or_the_current(
    file, current, asked, context, namespace
):
    file.write_text(kubeconfig(current))
    found = connect(Settings(context=asked))
    assert (found.context, found.namespace) == (context, namespace)


@pytest.mark.parametrize(
    ("text", "asked", "message", "hint"),
    [
        (None, None, "there is no kubeconfig", "KUBECONFIG"),
        ("a: [b\n", None, "cannot be used: .*not YAML", "KUBECONFIG"),
        ("a: b\n", None, "no current context", "it has none"),
        ("[]\n", None, "cannot be used", "KUBECONFIG"),
        (kubeconfig(""), None, "no current context", "one of: prod, lab, noc"),
        (kubeconfig(), "prd", "no context 'prd'", "one of: prod, lab, noc"),
        (kubeconfig(), "noc", "cannot be used", "--context"),
        (
            kubeconfig(user={"exec": {"apiVersion": "v1", "command": "no-such-plugin"}}),
            None,
            "no credential for context prod: .*no-such-plugin",
            "log in",
        ),
    ],
)
def test_what_leads_to_no_cluster_says_which_file(file, text, asked, message, hint):
    if text is not None:
        file.write_text(text)
    with pytest.raises(ClusterError, match=message) as failed:
        connect(Settings(context=asked))
    assert failed.value.where == (str(file) if asked != "prd" else "--context")
    assert hint in str(failed.value.hint)


@pytest.mark.parametrize(
    ("words", "variables", "target"),
    [
        ([], {}, None),
        (["--namespace", "llm"], {}, "kubernetes"),
        (["--context", "lab"], {}, "kubernetes"),
        (["--as", "ann"], {}, "kubernetes"),
        (["--namespace", "llm", "--target", "docker"], {}, "docker"),
        ([], {"DEPLOYCTL_TARGET": "kubernetes"}, "kubernetes"),
        ([], {"DEPLOYCTL_NAMESPACE": "llm"}, None),
    ],
)
def test_a_cluster_that_is_named_is_the_target(monkeypatch, words, variables, target):
    from deployctl.operations.deploy import services

    for name in ("TARGET", "NAMESPACE", "CONTEXT", "IMPERSONATE"):
        monkeypatch.setenv(f"DEPLOYCTL_{name}", "")  # put back afterwards
        monkeypatch.delenv(f"DEPLOYCTL_{name}")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    asked = []
    monkeypatch.setattr(services, "status", lambda name, target: asked.append(target) or [])
    monkeypatch.setattr(sys, "argv", ["deployctl", "status", *words])
    with pytest.raises(SystemExit):
        app.main()
    assert asked == [target]


@pytest.mark.parametrize("flag", [True, False])
def test_a_namespace_that_cannot_be_one_is_refused(monkeypatch, capsys, flag):
    monkeypatch.setenv("DEPLOYCTL_NAMESPACE", "x" if flag else "Bad_Name")
    words = ["--namespace", "Bad_Name"] if flag else []
    monkeypatch.setattr(sys, "argv", ["deployctl", "status", *words])
    with pytest.raises(SystemExit) as stop:
        app.main()
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert f"at: {'--namespace' if flag else 'DEPLOYCTL_NAMESPACE'}" in said
    assert "lower-case letters" in said
