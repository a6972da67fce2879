"""Our actions and workflows: what they run, with which words, and what they trust."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
GITHUB = ROOT / ".github"
ACTIONS = sorted(GITHUB.glob("actions/*/action.yml"))
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")


def steps(file):
    document = yaml.safe_load(file.read_text())
    jobs = document["jobs"].values() if "jobs" in document else [document["runs"]]
    return [step for job in jobs for step in job.get("steps", ())]


@pytest.mark.parametrize("file", [*ACTIONS, *WORKFLOWS], ids=lambda f: str(f.relative_to(GITHUB)))
def test_others_are_pinned_by_commit_and_no_script_holds_an_input(file):
    assert steps(file)
    for step in steps(file):
        used = step.get("uses")
        assert used is None or used.startswith("./deployctl/") or PINNED.fullmatch(used), used
        assert not re.search(r"\$\{\{ *(inputs|github|secrets|steps)\b", step.get("run", ""))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda f: f.name)
def test_each_job_has_the_rights_it_needs(file):
    document = yaml.safe_load(file.read_text())
    assert document["permissions"] in ({}, {"contents": "read"})
    writes = {
        (name, right)
        for name, job in document["jobs"].items()
        for right, given in job.get("permissions", {}).items()
        if given != "read"
    }
    may = {("comment", "pull-requests"), ("scanning", "security-events")}
    assert writes <= (may if file.name.startswith("plan") else set())


def test_the_job_that_writes_on_a_pull_request_has_nothing_of_it_but_data():
    for name in ("plan.yml", "plan-comment.yml"):
        job = yaml.safe_load((GITHUB / "workflows" / name).read_text())["jobs"]["comment"]
        taken = [s["with"] for s in job["steps"] if "checkout" in s.get("uses", "")]
        assert [each["repository"] for each in taken] == ["${{ inputs.deployctl }}"]
        assert "secrets." not in str(job)


@pytest.fixture
def act(tmp_path):
    """Runs a script of the action with a deployctl that writes down its words."""
    (tmp_path / "bin").mkdir()
    stub = tmp_path / "bin" / "deployctl"
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >words\nenv >env\necho "{}"\nexit 3\n')
    stub.chmod(0o755)
    for name in ("outputs", "environment", "summary"):
        (tmp_path / name).touch()

    def run(script, **inputs):
        env = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "GITHUB_OUTPUT": str(tmp_path / "outputs"),
            "GITHUB_ENV": str(tmp_path / "environment"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
            "RUNNER_TEMP": str(tmp_path),
        }
        return subprocess.run(
            [GITHUB / "actions" / "deployctl" / script],
            cwd=tmp_path,
            env={**env, **inputs},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def given(command="plan", file="", target="", words="", folder="."):
    names = {"VERB": command, "FILE": file, "TARGET": target, "WORDS": words, "FOLDER": folder}
    return {f"DEPLOYCTL_COMMAND_{name}": value for name, value in names.items()}


def test_each_input_is_one_word_whatever_it_holds(act, tmp_path):
    evil = "a b; touch x $(touch x) `touch x` --help"
    done = act("run", **given(file=evil, target=evil, words=f"--users\n8\n\n{evil}\n"))
    assert done.returncode == 3
    assert (tmp_path / "words").read_text().splitlines() == [
        "plan",
        f"--file={evil}",
        f"--target={evil}",
        "--users",
        "8",
        evil,
        "--output",
        "json",
    ]
    assert not (tmp_path / "x").exists()


def test_what_a_verb_is_told_of_its_pipeline(act, tmp_path):
    act("run", **given(command="review", file="s.yaml"))
    assert f"--markdown={tmp_path / 'summary'}" in (tmp_path / "words").read_text().splitlines()
    told = (tmp_path / "env").read_text()
    assert "DEPLOYCTL_ANNOTATIONS=github" in told
    assert f"DEPLOYCTL_OUTPUTS={tmp_path / 'outputs'}" in told
    assert "DEPLOYCTL_COMMAND_" not in told
    [line] = (tmp_path / "outputs").read_text().splitlines()
    assert Path(line.removeprefix("json-file=")).read_text() == "{}\n"


@pytest.mark.parametrize("command", ["", "--version", "plan up", "plan\nup", "$(touch x)"])
def test_what_is_no_verb_is_not_run(act, tmp_path, command):
    done = act("run", **given(command=command))
    assert (done.returncode, (tmp_path / "words").exists()) == (2, False)
    assert done.stdout == "::error title=deployctl::the input command is no verb\n"


@pytest.mark.parametrize(
    ("running", "kubeconfig", "base", "expected"),
    [
        ("true", "apiVersion: v1", True, ["--running"]),
        ("true", "", True, ["--against-file=../base/service.yaml"]),
        ("false", "apiVersion: v1", True, ["--against-file=../base/service.yaml"]),
        ("true", "", False, []),
    ],
)
def test_what_a_review_compares_with(act, tmp_path, running, kubeconfig, base, expected):
    if base:
        (tmp_path / "base").mkdir()
        (tmp_path / "base" / "service.yaml").write_text("model: x\n")
    done = act("against", SPEC="service.yaml", RUNNING=running, KUBECONFIG_TEXT=kubeconfig)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lines = (tmp_path / "outputs").read_text().splitlines()
    sarif = f"--sarif={tmp_path}/deployctl-review/findings.sarif"
    assert lines == ["args<<END_OF_ARGS", sarif, *expected, "END_OF_ARGS"]
    file = tmp_path / "deployctl-kubeconfig"
    assert file.exists() == (expected == ["--running"])
    if file.exists():
        assert file.stat().st_mode & 0o777 == 0o600
