"""Our actions and the plan workflow, run by act as a stranger's repository would.

act runs workflows on this machine, without images. What is not ours is a stand-in: checkout copies
the folder that stands for a repository, the artefact actions copy to a folder, and GitHub's API is
a fake. deployctl is installed from this checkout by its lock, from the index that pip is set to.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fake_github import TOKEN, FakeGitHub
from known import tiny_folder

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.night  # it installs deployctl's hundred packages

CALLER = """\
name: services
on: pull_request
permissions:
  contents: read
jobs:
  plan:
    permissions:
      actions: read
      contents: read
      pull-requests: write
      security-events: write
    uses: ./.github/workflows/plan.yml
    with:
      deployctl: stranger/deployctl
      ref: v1
"""
SPEC = "model: ./tiny\nname: chat\ngpu: l4\n"
SAVE = 'mkdir -p "$STORE" && cp -r "$FROM/." "$STORE/"'
STANDS_IN = {
    "actions/setup-python": ("true", {}),
    "actions/cache": ('mkdir -p "$DOWNLOADS" && ln -sfn "$DOWNLOADS" "$AT"', {"AT": "path"}),
    "github/codeql-action": ('cp "$SARIF" "$STORE/uploaded.sarif"', {"SARIF": "sarif_file"}),
    "actions/upload-artifact": (SAVE, {"FROM": "path"}),
    "actions/download-artifact": ('mkdir -p "$TO" && cp -r "$STORE/." "$TO/"', {"TO": "path"}),
    "actions/checkout": (
        'mkdir -p "${TO:-.}" && cp -r "$REPOSITORIES/${WHOSE:-base}/." "${TO:-.}/"',
        {"TO": "path", "WHOSE": "repository"},
    ),
}


def stand_in(folder, script, inputs):
    """An action in place of somebody else's: a line of shell."""
    folder.mkdir(parents=True)
    env = {name: f"${{{{ inputs.{given} }}}}" for name, given in inputs.items()}
    action = {
        "name": "stand-in",
        "description": "stands in",
        "inputs": {given: {"default": ""} for given in inputs.values()},
        "runs": {
            "using": "composite",
            "steps": [{"shell": "bash", "run": script, "env": env}],
        },
    }
    (folder / "action.yml").write_text(json.dumps(action))


@pytest.fixture(scope="module")
def act():
    found = subprocess.run([ROOT / "scripts" / "tool", "act"], capture_output=True, text=True)
    if found.returncode:
        pytest.skip("act is not here")
    return found.stdout.strip()


@pytest.fixture
def stranger(tmp_path, act):
    """A repository with the ten lines, and what stands around it; and a run of its pull request."""
    repositories, work = tmp_path / "repositories", tmp_path / "work"
    (repositories / "base").mkdir(parents=True)
    (repositories / "base" / "service.yaml").write_text(SPEC)
    ours = repositories / "stranger" / "deployctl"
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in filter(None, tracked.stdout.split("\0")):
        if name.startswith((".github", "operator", "loadtest", "charts", "deploy", "docker",
                            "requirements", "pyproject", "README", "LICENSE")):  # fmt: skip
            (ours / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, ours / name)
    (work / ".github" / "workflows").mkdir(parents=True)
    (work / ".github" / "workflows" / "services.yml").write_text(CALLER)
    shutil.copy(ROOT / ".github/workflows/plan.yml", work / ".github/workflows/plan.yml")
    tiny_folder(work / "tiny")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        user = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *user, *words], cwd=work, check=True)
    locals_ = []
    text = (ROOT / ".github/workflows/plan.yml").read_text() + "".join(
        file.read_text() for file in (ROOT / ".github/actions").rglob("action.yml")
    )
    for name, (script, inputs) in STANDS_IN.items():
        folder = tmp_path / "actions" / name.replace("/", "-")
        if name == "github/codeql-action":
            stand_in(folder / "upload-sarif", script, inputs)
        else:
            stand_in(folder, script, inputs)
        refs = {part.split()[0] for part in text.split(name)[1:]}
        for ref in {ref.split("@")[1] for ref in refs if "@" in ref}:
            locals_ += ["--local-repository", f"{name}@{ref}={folder}"]

    def run(spec, github, fork=False):
        (work / "service.yaml").write_text(spec)
        repository = "stranger/app"
        head = {"repo": {"full_name": "fork/app" if fork else repository}}
        event = {"pull_request": {"number": 7, "head": head, "base": {"sha": "b" * 40}}}
        (tmp_path / "event.json").write_text(json.dumps(event))
        store = tmp_path / "store"
        store.mkdir(exist_ok=True)
        words = [act, "pull_request", "-P", "ubuntu-24.04=-self-hosted", "-e"]
        words += [str(tmp_path / "event.json"), *locals_, "-s", f"GITHUB_TOKEN={TOKEN}"]
        for name, value in {
            "GITHUB_API_URL": github.url,
            "GITHUB_REPOSITORY": repository,
            "REPOSITORIES": str(repositories),
            "STORE": str(store),
            "DOWNLOADS": str(tmp_path.parent / "downloads"),
        }.items():
            words += ["--env", f"{name}={value}"]
        env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
        return subprocess.run(
            words, cwd=work, env=env, capture_output=True, text=True, timeout=900, check=False
        )

    return run


def test_a_pull_request_gets_a_comment(stranger):
    with FakeGitHub("stranger/app") as github:
        ran = stranger(SPEC, github)
        assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    [comment] = github.comments
    assert "### ✅ deployctl: 1 service ready" in comment["body"]
    assert "Nothing differs from" in comment["body"]


def test_one_that_is_refused_fails_and_its_comment_is_brought_up_to_date(stranger, tmp_path):
    with FakeGitHub("stranger/app") as github:
        github.add("<!-- deployctl review: service.yaml -->\nof an earlier commit")
        ran = stranger(SPEC + "max_model_len: 4096\n", github)
    assert ran.returncode != 0
    [comment] = github.comments
    assert "1 of 1 service cannot run as written" in comment["body"], ran.stdout[-6000:]
    assert "file=service.yaml,line=1" in ran.stdout + ran.stderr
    sarif = json.loads((tmp_path / "store" / "uploaded.sarif").read_text())
    assert sarif["runs"][0]["results"]
    assert TOKEN not in ran.stdout + ran.stderr


def test_a_fork_s_run_writes_nothing(stranger, tmp_path):
    with FakeGitHub("stranger/app") as github:
        ran = stranger(SPEC, github, fork=True)
        assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert github.asked == []
    review = json.loads((tmp_path / "store" / "review.json").read_text())
    assert review["verdict"] == "good"
