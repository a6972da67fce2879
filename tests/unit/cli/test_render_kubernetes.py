"""`deployctl render --target helm|manifests|all`, as a user runs it."""

import subprocess
import sys

import pytest
import yaml

from deployctl.cli.app import main
from deployctl.targets import helm
from known import tiny_folder

TEMPLATED = """\
---
# Source: vllm/templates/engine/deployment.yaml
kind: Deployment
metadata:
  name: svc
  namespace: "team"
"""


@pytest.fixture
def model(tmp_path):
    return tiny_folder(tmp_path / "model")


@pytest.fixture
def render(model, tmp_path, monkeypatch, capsys):
    mine = tmp_path / "mine.yaml"
    mine.write_text("model: {claim: models}\n")

    def run(*words, code=0, values=True, gpu="cpu"):
        own = ["--values", str(mine)] if values else []
        source = ["--model", str(model), "--gpu", gpu, "--name", "svc", *own]
        monkeypatch.setattr(sys, "argv", ["deployctl", "render", *source, *words])
        with pytest.raises(SystemExit) as ended:
            main()
        done = capsys.readouterr()
        assert ended.value.code == code, done.err
        return done

    monkeypatch.chdir(tmp_path)
    return run


@pytest.fixture
def fake_helm(monkeypatch):
    """helm as a function of its arguments: (status, stdout, stderr)."""
    calls = []

    def install(status=0, stdout=TEMPLATED, stderr=""):
        def run(argv, **_):
            calls.append(argv)
            return subprocess.CompletedProcess(argv, status, stdout, stderr)

        monkeypatch.setattr(helm.shutil, "which", lambda name: f"/bin/{name}")
        monkeypatch.setattr(helm.subprocess, "run", run)
        return calls

    return install


def test_values_are_the_answer_without_a_folder(render):
    values = yaml.safe_load(render("--target", "helm").out)
    assert values["name"] == "svc"
    assert values["model"]["claim"] == "models"


def test_a_spec_for_a_cluster_has_values_too(render, monkeypatch):
    monkeypatch.setenv("DEPLOYCTL_TARGET", "kubernetes")
    assert yaml.safe_load(render().out)["model"]["claim"] == "models"


def test_a_folder_holds_the_chart_and_how_to_install_it(render, tmp_path):
    render("--target", "helm", "-o", "out")
    assert (tmp_path / "out/chart/Chart.yaml").is_file()
    readme = (tmp_path / "out/README.md").read_text()
    assert "helm upgrade --install svc chart" in readme
    assert "create secret generic svc-api-key" in readme
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    render("--target", "helm", "-o", "out")
    assert before == {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}


def test_alerts_come_with_a_monitor_unless_there_are_some(render, tmp_path):
    def groups(more):
        (tmp_path / "alerts.yaml").write_text(more)
        done = render("--target", "helm", "--values", "alerts.yaml")
        return yaml.safe_load(done.out).get("alerts", {}).get("groups", [])

    place = "model: {claim: models}\n"
    ours = groups(place + "monitoring: {kind: podMonitor}")
    assert [group["name"].rsplit("-", 1)[1] for group in ours] == [
        *("objectives", "health", "capacity", "usage")
    ]
    assert all("{$service_series" in rule["expr"] for rule in ours[1]["rules"])
    assert groups(place) == []
    objectives = "objectives: {availability: 0, ttftSeconds: 1, share: 0.9}, runbooks: 'https://x/'"
    held, *_ = groups(place + f"monitoring: {{kind: podMonitor}}\nalerts: {{{objectives}}}")
    alerts = [rule for rule in held["rules"] if "alert" in rule]
    assert {alert["alert"] for alert in alerts} == {"VllmTtftBurn"}
    assert alerts[2]["annotations"]["runbook_url"] == "https://x/VllmTtftBurn.md"
    assert " > 0.1 and " in alerts[2]["expr"]
    *_, machines = groups(place + "monitoring: {kind: podMonitor}\nalerts: {machines: true}")
    assert machines["name"] == "deployctl-host"
    assert {"HostMemoryGrowing", "GpuXid"} <= {rule["alert"] for rule in machines["rules"]}
    assert "$service" not in str(machines)
    own = place + "monitoring: {kind: podMonitor}\nalerts: {groups: [{name: own, rules: []}]}"
    assert groups(own) == [{"name": "own", "rules": []}]


def test_manifests_go_through_helm_in_their_namespace(render, fake_helm, tmp_path):
    calls = fake_helm()
    render("--target", "manifests", "--namespace", "team", "-o", "out")
    words = calls[0]
    assert words[1:3] == ["template", "svc"]
    assert words[words.index("--namespace") + 1] == "team"
    assert yaml.safe_load((tmp_path / "out/kustomization.yaml").read_text())["resources"] == [
        "engine/deployment.yaml"
    ]
    assert "--namespace team" in (tmp_path / "out/README.md").read_text()


def test_without_helm_the_way_out_is_said(render, monkeypatch):
    monkeypatch.setattr(helm.shutil, "which", lambda _: None)
    done = render("--target", "manifests", code=4)
    assert "there is no helm command" in done.err
    assert "--target helm" in done.err


@pytest.mark.parametrize(
    ("stderr", "code", "said"),
    [
        (
            "Error: execution error at (vllm/templates/engine/deployment.yaml:1:4): "
            "cache.accessMode: ReadWriteOnce is one node's; use ReadWriteMany\n\nUse --debug",
            2,
            ["values: cache/accessMode", "ReadWriteOnce is one node's", "use ReadWriteMany"],
        ),
        (
            "Error: values don't meet the specifications of the schema(s) in the following "
            "chart(s):\nvllm:\n- at '/replicas': got string, want integer\n",
            2,
            ["at '/replicas': got string, want integer"],
        ),
        ("Error: out of memory", 4, ["helm failed: Error: out of memory"]),
    ],
)
def test_what_helm_says_is_said_as_ours(render, fake_helm, stderr, code, said):
    fake_helm(status=1, stdout="", stderr=stderr)
    done = render("--target", "manifests", code=code)
    for words in said:
        assert words in " ".join(done.err.split())
    assert "Use --debug" not in done.err


def test_all_is_a_folder_each_and_leaves_out_what_cannot_be(render, fake_helm, tmp_path):
    fake_helm()
    done = render("--target", "all", "-o", "out", "--gateway")
    made = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert made == ["docker", "process"]
    assert "left out target helm" in done.err
    done = render("--target", "all", "-o", "other")
    assert len(list((tmp_path / "other").iterdir())) == 4
    assert "do not fit on one output" in render("--target", "all", code=2).err


def test_several_services_get_a_folder_each(render, model, tmp_path, monkeypatch):
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(
        f"model: {model}\ngpu: cpu\nname: one\n---\n"
        f"model: {model}\ngpu: cpu\nname: two\nport: 8001\n"
    )
    mine = str(tmp_path / "mine.yaml")
    argv = ["deployctl", "render", "-f", str(fleet), "--target", "helm", "--values", mine]
    monkeypatch.setattr(sys, "argv", [*argv, "-o", "out"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["one", "two"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "docker"], "only the chart has values"),
        (["--target", "helm", "--namespace", "No Such"], "'No Such' is no namespace"),
        (["--target", "helm", "--values", "gone.yaml"], "cannot read the file"),
        (["--target", "kubernetes"], "kubernetes"),
    ],
)
def test_wrong_words_are_said(render, words, said):
    assert said in render(*words, code=2).err


def test_a_wrong_value_is_said_by_its_path(render, tmp_path):
    (tmp_path / "more.yaml").write_text("scheduling: {tolerations: [{operator: Maybe}]}\n")
    done = render("--target", "helm", "--values", "more.yaml", code=2)
    assert "values: scheduling/tolerations/0/operator" in done.err


def test_values_that_do_not_fit_together_are_told_all_at_once(render, tmp_path):
    (tmp_path / "more.yaml").write_text("rollout: {maxUnavailable: 0}\n")
    done = render("--target", "helm", "--values", "more.yaml", code=2)
    assert "error: maxSurge and maxUnavailable are both 0" in done.err
    assert "at: values: rollout" in done.err
    (tmp_path / "more.yaml").write_text("""\
rollout: {maxUnavailable: 0}
ingress: {enabled: true, host: llm.example.org}
replicas: 2
cache: {accessMode: ReadWriteOnce}
""")
    done = render("--target", "helm", "--values", "more.yaml", code=2)
    assert "error: the values are refused for 3 reasons:\n" in done.err
    for path in ("cache.accessMode", "rollout", "ingress.tlsSecret"):
        assert f"  {path}: " in done.err
    assert "use ReadWriteMany, or cache.enabled: false" in done.err


def test_a_folder_of_this_machine_is_refused_with_a_way_out(render):
    done = render("--target", "helm", values=False, code=2)
    assert "no node of a cluster sees" in done.err
    assert "claim" in done.err


def test_up_does_not_take_the_chart_s_targets(render, model, monkeypatch, capsys):
    argv = ["deployctl", "up", "--model", str(model), "--gpu", "cpu", "--target", "helm"]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "helm" in capsys.readouterr().err
