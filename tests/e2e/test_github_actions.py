"""Our actions and workflows, run by act as a stranger's repository would: see github_parts."""

import json
import os
import subprocess
import sys

import pytest
from tests.e2e.docker_parts import Cli

from fake_github import TOKEN, FakeGitHub
from github_parts import OURS, PATIENCE_S, ROOT, Stranger, act  # noqa: F401  a fixture
from known import tiny_folder
from process_parts import PYTHONPATH

PLAN = f"""\
name: services
on: pull_request
permissions: {{}}
jobs:
  plan:
    permissions: {{actions: read, contents: read, pull-requests: write, security-events: write}}
    uses: {OURS}/.github/workflows/plan.yml@v1
    with: {{deployctl: {OURS}, ref: v1}}
"""
GATE = f"""\
name: gate
on: [pull_request, push]
permissions: {{}}
jobs:
  gate:
    permissions: {{actions: read, contents: read, id-token: write, pull-requests: write}}
    uses: {OURS}/.github/workflows/gate.yml@v1
    with: {{deployctl: {OURS}, ref: v1, runs-on: gpu, slo: SLO, load: LOAD}}
"""
FORKS = f"""\
name: comment
on:
  workflow_run: {{workflows: [services], types: [completed]}}
permissions: {{}}
jobs:
  comment:
    permissions: {{contents: read, pull-requests: write, actions: read}}
    uses: {OURS}/.github/workflows/plan-comment.yml@v1
    with: {{deployctl: {OURS}, ref: v1}}
"""
TUNE = f"""\
name: tune
on: workflow_dispatch
permissions: {{}}
jobs:
  tune:
    permissions: {{contents: write, pull-requests: write}}
    uses: {OURS}/.github/workflows/tune.yml@v1
    with:
      deployctl: {OURS}
      ref: v1
      runs-on: gpu
      service: chat
      args: |
        --objective=throughput
        --space=space.yaml
        --load=users=8
        --output-tokens=16
        --budget=4m
"""
GATED = GATE.replace("LOAD", '"--users=2\\n--duration=20s\\n--output-tokens=16"')
SHA = "a" * 40
SPEC = "model: ./tiny\nname: chat\ngpu: l4\n"


def ten_lines():
    """The workflow of the README, as a stranger copies it."""
    page = (ROOT / "README.md").read_text().partition("## From a pipeline")[2]
    return page.split("```yaml\n")[1].split("```")[0].replace("OWNER/deployctl", OURS)


@pytest.fixture
def stranger(tmp_path, act):  # noqa: F811
    made = Stranger(tmp_path, act)
    made.calls(PLAN)
    made.base(SPEC)
    return made


def shown(ran):
    return ran.stdout[-8000:] + ran.stderr[-2000:]


def test_a_pull_request_gets_one_comment_that_is_kept_up_to_date(stranger):
    with FakeGitHub("stranger/app") as github:
        ran = stranger.run(SPEC, github)
        assert ran.returncode == 0, shown(ran)
        [comment] = github.comments
        assert "### ✅ deployctl: 1 service ready" in comment["body"]
        assert "Nothing differs from" in comment["body"]
        ran = stranger.run(SPEC + "max_model_len: 4096\n", github)
    assert ran.returncode != 0
    [comment] = github.comments
    assert "1 of 1 service cannot run as written" in comment["body"], shown(ran)
    assert "file=service.yaml,line=1" in ran.stdout + ran.stderr
    sarif = json.loads((stranger.store / "uploaded.sarif").read_text())
    assert sarif["runs"][0]["results"]
    assert TOKEN not in ran.stdout + ran.stderr


def test_a_fork_s_run_writes_nothing_and_its_review_is_written_for_it(stranger):
    with FakeGitHub("stranger/app") as github:
        ran = stranger.run(SPEC, github, fork=True)
        assert ran.returncode == 0, shown(ran)
        assert github.asked == []
        [left] = stranger.store.glob("deployctl-review-*")
        assert json.loads((left / "review.json").read_text())["verdict"] == "good"

        stranger.calls(FORKS)
        github.pulls = [{"number": 9, "head": {"label": "fork:patch", "sha": SHA}}]
        of = {"event": "pull_request", "id": 5, "head_branch": "patch", "head_sha": SHA}
        of |= {"head_repository": {"full_name": "fork/app", "owner": {"login": "fork"}}}
        ran = stranger.run(SPEC, github, "workflow_run", workflow_run=of)
        assert ran.returncode == 0, shown(ran)
    [comment] = github.comments
    assert comment["issue"] == 9
    assert "### ✅ deployctl: 1 service ready" in comment["body"]


def test_a_fork_s_gate_says_why_it_fails_and_nothing_else(stranger):
    stranger.calls(GATED)
    with FakeGitHub("stranger/app") as github:
        ran = stranger.run(SPEC, github, fork=True)
    assert ran.returncode != 0
    assert "is measured after it is merged, or by hand" in ran.stdout, shown(ran)
    assert "No such file" not in ran.stdout + ran.stderr
    assert "connect" not in ran.stdout, shown(ran)


@pytest.mark.night  # it installs deployctl's hundred packages
def test_deployctl_is_installed_by_its_lock(tmp_path, act):  # noqa: F811
    stranger = Stranger(tmp_path, act, install=True)
    stranger.calls(PLAN)
    stranger.base(SPEC)
    with FakeGitHub("stranger/app") as github:
        ran = stranger.run(SPEC, github)
    assert ran.returncode == 0, shown(ran)
    assert "### ✅ deployctl: 1 service ready" in github.comments[0]["body"]


@pytest.fixture
def deployctl(stranger):
    """deployctl beside the pipeline, on its state; whatever a test came to, nothing runs on."""
    env = {**os.environ, "DEPLOYCTL_STATE_DIR": str(stranger.state), "PYTHONPATH": PYTHONPATH}

    def call(*words):
        ran = subprocess.run(
            [sys.executable, "-m", "deployctl", *words],
            env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        return json.loads(ran.stdout) if ran.stdout.startswith("{") else ran

    yield call
    call("down", "--all")


def served(deployctl):
    return [
        (each["revision"], each["status"])
        for each in deployctl("history", "chat", "-o", "json")["revisions"]
    ]


QUICK = """\
      load: |
        --users=4
        --duration=3s
        --warmup=1s
        --output-tokens=16
      args: |
        --verify-for=7s
        --beside=no
"""


def test_a_merge_is_deployed_and_gated_and_a_breach_rolled_back(stranger, deployctl, free_port):
    lines = ten_lines()
    first, rest = lines.split("    with: {", 1)
    inputs, secrets = rest.split("}\n", 1)
    given = "".join(f"      {each}\n" for each in inputs.split(", "))
    stranger.calls(
        f"{first}    with:\n{given}{QUICK}{secrets}".replace("ttft_p95=500ms", "itl_p50=24ms")
    )
    spec = f"model: ./tiny\nname: chat\ngpu: cpu\nport: {free_port}\n"
    fast, slow = (f"env: {{FAKE_ENGINE_TOKEN_S: '{s}'}}\n" for s in (0.002, 0.03))
    with FakeGitHub("stranger/app") as github:
        ran = stranger.run(spec + fast, github, "push", run=101)
        assert ran.returncode == 0, shown(ran)
        assert served(deployctl) == [(1, "deployed")]
        assert "there is no baseline" in ran.stdout

        ran = stranger.run(spec + slow, github, "push", run=102)
        assert ran.returncode != 0
        assert "verification failed: itl_p50 missed" in ran.stdout + ran.stderr, shown(ran)
        assert deployctl("status", "chat", "-o", "json")["services"][0]["health"] == "serving"
        assert [status for _, status in served(deployctl)][-1] == "failed"

        ran = stranger.run(f"{spec}{fast}max_num_seqs: 8\n", github, "push", run=103)
        [left] = stranger.store.glob("deployctl-gate-*")
        report = json.loads((left / "gate.json").read_text())
        assert [each["run"] for each in report["baseline"]] == [101], shown(ran)
        # Two runs of seconds differ on a busy machine; what the gate says of it is what counts.
        assert (ran.returncode == 0) == (report["verdict"] == "passed"), shown(ran)
        assert (left / "report.html").exists()


@pytest.mark.night
@pytest.mark.vllm
def test_ten_lines_and_nothing_else_on_a_real_engine(
    tmp_path,
    act,  # noqa: F811
    tiny_checkpoint,
    free_port,
):
    stranger = Stranger(tmp_path, act, engine="")
    env = {**os.environ, "DEPLOYCTL_STATE_DIR": str(stranger.state)}
    # A CPU holds less than the card that the README is about, and a model of chance has nothing to
    # say at times.
    stranger.calls(ten_lines().replace("ttft_p95=500ms,error_rate=1%", "ttft_p50=30s"))
    # A machine that does other things too may take longer to start an engine than a quiet one.
    spec = (
        f"model: {tiny_checkpoint}\nname: chat\ngpu: cpu\nport: {free_port}\nenforce_eager: true\n"
        "startup_timeout: 600\n"
    )
    stranger.base(spec)
    try:
        with FakeGitHub("stranger/app") as github:
            ran = stranger.run(spec, github)
            assert ran.returncode == 0, shown(ran)
            assert "### ✅ deployctl: 1 service ready" in github.comments[0]["body"]
            ran = stranger.run(spec, github, "push", run=101)
            assert ran.returncode == 0, shown(ran)

            # The gate of a pull request: nothing of this load is there to compare with; then it is.
            stranger.calls(GATED.replace("SLO", "ttft_p50=30s"))
            ran = stranger.run(spec, github, run=102)
            assert ran.returncode != 0, shown(ran)
            assert "### ❔ deployctl gate: no baseline" in github.comments[1]["body"]
            ran = stranger.run(spec, github, "push", run=103)
            assert ran.returncode == 0, shown(ran)
            stranger.calls(GATED.replace("SLO", 'ttft_p50=30s, threshold: "500%"'))
            ran = stranger.run(spec, github, run=104)
            assert ran.returncode == 0, shown(ran)
            assert "### ✅ deployctl gate: passed" in github.comments[1]["body"]
            assert "Compared with 1 good run: run 103" in github.comments[1]["body"]
            stranger.calls(GATED.replace("SLO", "ttft_p50=1ms"))
            ran = stranger.run(spec, github, run=105)
            assert ran.returncode != 0, shown(ran)
            assert "### ❌ deployctl gate: SLO missed" in github.comments[1]["body"]
            assert len(github.comments) == 2
    finally:
        words = [sys.executable, "-m", "deployctl", "down", "--all"]
        subprocess.run(words, env=env, timeout=PATIENCE_S, check=True)


DEPLOY = f"""\
name: deploy
on: push
permissions: {{}}
jobs:
  deploy:
    permissions: {{contents: read, id-token: write}}
    uses: {OURS}/.github/workflows/deploy.yml@v1
    with:
      deployctl: {OURS}
      ref: v1
      runs-on: gpu
      slo: itl_p50=24ms
      args: |
        --verify-for=7s
        --beside=no
"""


@pytest.mark.night
@pytest.mark.docker
def test_a_runner_that_knows_nothing_goes_on_and_rolls_back(
    stranger, fake_engine_image, service, port
):
    # Not in the checkout, which each job has anew: the revision that is rolled back to reads it.
    kept = tiny_folder(stranger.folder / "checkpoint")
    spec = (
        f"model: {kept}\nname: {service}\ngpu: cpu\ntarget: docker\nport: {port}\n"
        f"image: {fake_engine_image}\n"
    )
    stranger.calls(DEPLOY)
    known = []
    with FakeGitHub("stranger/app") as github:
        for number, more in enumerate(
            ("", "max_num_seqs: 4\n", "env: {FAKE_ENGINE_TOKEN_S: '0.03'}\n")
        ):
            stranger.state = stranger.folder / f"runner-{number}"  # each its own, and empty
            ran = stranger.run(spec + more, github, "push")
            assert (ran.returncode == 0) == (number < 2), shown(ran)
            cli = Cli(stranger.folder / f"looks-{number}")
            document = json.loads(cli("history", service, "--output", "json").stdout)
            known.append([(each["revision"], each["status"]) for each in document["revisions"]])
        assert cli.status(service)["health"] == "serving"
    assert known[0] == [(1, "deployed")]
    assert (2, "deployed") in known[1]
    assert (3, "failed") in known[2]
    assert "verification failed: itl_p50 missed" in ran.stdout + ran.stderr


@pytest.mark.night  # a study of four minutes
def test_what_a_study_finds_is_proposed_with_its_evidence(stranger, deployctl, free_port):
    # One request at a time, or eight: nobody doubts which serves more.
    spec = f"model: ./tiny\nname: chat\ngpu: cpu\nport: {free_port}\nmax_num_seqs: 1\n"
    spec += "env: {FAKE_ENGINE_TOKEN_S: '0.005'}\n"
    (stranger.work / "space.yaml").write_text("max_num_seqs: [1, 8]\n")
    stranger.calls(TUNE)
    with FakeGitHub("stranger/app") as github:
        ran = stranger.run(spec, github, "workflow_dispatch")
        assert ran.returncode == 0, shown(ran)
    [pull] = github.pulls
    assert (pull["base"], pull["title"]) == ("main", "Settings of chat, as measured")
    assert "| proposed | `max_num_seqs=8` |" in pull["body"]
    assert "max_num_seqs: 8" in github.branches["deployctl/tuned-chat"]["recommendation.yaml"]
    assert TOKEN not in ran.stdout + ran.stderr
