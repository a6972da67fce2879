"""Our actions and workflows: what they run, with which words, and what they trust."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
GITHUB = ROOT / ".github"
ACTIONS = sorted(GITHUB.glob("actions/*/action.yml"))
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
# What a job may write, and nothing else may.
SIGNS = ("id-token", "attestations")
MAY_WRITE = {
    "plan": {("comment", "pull-requests"), ("scanning", "security-events")},
    "plan-comment": {("comment", "pull-requests")},
    "deploy": {("deploy", "id-token")},
    "gate": {("gate", "id-token"), ("comment", "pull-requests")},
    "tune": {("propose", "contents"), ("propose", "pull-requests")},
    # It calls those, and hands on what each needs.
    "services": {
        ("plan", "pull-requests"),
        ("plan", "security-events"),
        ("deploy", "id-token"),
        ("gate", "id-token"),
        ("gate", "pull-requests"),
    },
    "pages": {("publish", "pages"), ("publish", "id-token")},
    "release": {
        ("release", "contents"),
        ("index", "id-token"),
        *(("sign", right) for right in SIGNS),
        *(("images", right) for right in (*SIGNS, "packages")),
        *(("charts", right) for right in ("id-token", "packages")),
    },
}
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")


def steps(file):
    document = yaml.safe_load(file.read_text())
    jobs = document["jobs"].values() if "jobs" in document else [document["runs"]]
    return [step for job in jobs for step in job.get("steps", ())]


@pytest.mark.parametrize("file", [*ACTIONS, *WORKFLOWS], ids=lambda f: str(f.relative_to(GITHUB)))
def test_others_are_pinned_by_commit_and_no_script_holds_an_input(file):
    assert steps(file) or file.stem == "services"  # which calls the others
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
    assert writes == MAY_WRITE.get(file.stem, set())


@pytest.mark.parametrize(
    ("name", "writer"),
    [("plan", "comment"), ("plan-comment", "comment"), ("gate", "comment"), ("tune", "propose")],
)
def test_a_job_that_writes_has_nothing_of_a_change_but_data(name, writer):
    file = GITHUB / "workflows" / f"{name}.yml"
    job = yaml.safe_load(file.read_text())["jobs"][writer]
    taken = [s["with"] for s in job["steps"] if "checkout" in s.get("uses", "")]
    assert [each["repository"] for each in taken] == ["${{ inputs.deployctl }}"]
    assert set(re.findall(r"secrets\.\S+", str(job))) <= {"secrets.token"}


@pytest.fixture
def act(tmp_path):
    """Runs a script of the action with a deployctl that writes down its words."""
    (tmp_path / "bin").mkdir()
    stub = tmp_path / "bin" / "deployctl"
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >words\nenv >env\necho "{}"\nexit 3\n')
    stub.chmod(0o755)
    for name in ("outputs", "environment", "summary", "path"):
        (tmp_path / name).touch()

    def run(script, **inputs):
        name, *words = script.split()
        env = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "GITHUB_OUTPUT": str(tmp_path / "outputs"),
            "GITHUB_ENV": str(tmp_path / "environment"),
            "GITHUB_PATH": str(tmp_path / "path"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
            "RUNNER_TEMP": str(tmp_path),
        }
        return subprocess.run(
            [GITHUB / "actions" / "deployctl" / name, *words],
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
    ("running", "kubeconfig", "base", "commit", "expected"),
    [
        ("true", "apiVersion: v1", True, "c", ["--running"]),
        ("true", "", True, "c", ["--against-file=../base/service.yaml"]),
        ("false", "apiVersion: v1", True, "c", ["--against-file=../base/service.yaml"]),
        ("true", "", False, "c", []),
        ("false", "", True, "", []),  # an earlier job's, where no pull request is planned
    ],
)
def test_what_a_review_compares_with(act, tmp_path, running, kubeconfig, base, commit, expected):
    if base:
        (tmp_path / "base").mkdir()
        (tmp_path / "base" / "service.yaml").write_text("model: x\n")
    told = {"BASE": commit, "RUNNING": running, "KUBECONFIG_TEXT": kubeconfig}
    done = act("against", SPEC="service.yaml", **told)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lines = (tmp_path / "outputs").read_text().splitlines()
    sarif = f"--sarif={tmp_path}/deployctl-review/findings.sarif"
    artifact = "artifact=deployctl-review-" + hashlib.sha256(b"service.yaml").hexdigest()[:12]
    assert lines == [artifact, "args<<END_OF_ARGS", sarif, *expected, "END_OF_ARGS"]
    file = tmp_path / "deployctl-kubeconfig"
    assert file.exists() == (expected == ["--running"])
    if file.exists():
        assert file.stat().st_mode & 0o777 == 0o600


def test_who_cancels_a_job_interrupts_the_verb_itself(act, tmp_path):
    """The runner sends its signals to the process that it started, and to no child of it."""
    stub = tmp_path / "bin" / "deployctl"
    stub.write_text("#!/bin/sh\necho $$ >pid\n")
    [step] = [s for s in steps(GITHUB / "actions/deployctl/action.yml") if s["id"] == "run"]
    (tmp_path / "step.sh").write_text(step["run"])
    env = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "GITHUB_ACTION_PATH": str(GITHUB / "actions/deployctl"),
        "GITHUB_OUTPUT": str(tmp_path / "outputs"),
        "RUNNER_TEMP": str(tmp_path),
        **given(command="up"),
    }
    words = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "step.sh"]
    with subprocess.Popen(words, cwd=tmp_path, env=env) as started:
        assert started.wait() == 0
    assert (tmp_path / "pid").read_text() == f"{started.pid}\n"


@pytest.mark.parametrize(("command", "tracked"), [("up", False), ("loadtest", True)])
def test_an_engine_outlives_the_job_that_starts_it(act, tmp_path, command, tracked):
    act("run", **given(command=command), RUNNER_TRACKING_ID="github_1")
    assert ("RUNNER_TRACKING_ID=github_1" in (tmp_path / "env").read_text()) == tracked


@pytest.mark.parametrize(
    ("slo", "tuned", "words", "expected"),
    [
        ("", "", "", []),
        ("ttft_p95=1s", "", "", ["--verify", "--slo=ttft_p95=1s", "--verify-out=TEMP"]),
        ("", "r.yaml", "--port\n8000", ["--tuned=r.yaml", "--port", "8000"]),
        ("", "nothing.yaml", "", []),
    ],
)
def test_with_which_words_a_service_is_deployed(act, tmp_path, slo, tuned, words, expected):
    (tmp_path / "change").mkdir()
    (tmp_path / "change" / "r.yaml").write_text("x")
    done = act("deploying", SPEC="service.yaml", SLO=slo, TUNED=tuned, WORDS=words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    artifact, first, *lines, last = (tmp_path / "outputs").read_text().splitlines()
    digest = hashlib.sha256(b"service.yaml").hexdigest()[:12]
    assert artifact == f"artifact=deployctl-verified-{digest}"
    assert (first, last) == ("args<<END_OF_ARGS", "END_OF_ARGS")
    where = f"{tmp_path}/deployctl-verified"
    assert [line.replace(where, "TEMP") for line in lines if line] == expected


NOWHERE = dict.fromkeys(
    ("CLUSTER", "CLUSTER_CA", "AUDIENCE", "DOCKER_AT", "KNOWN_HOSTS", "SSH_KEY"), ""
)


def test_a_docker_host_is_reached_by_a_key_that_goes_with_the_job(act, tmp_path):
    shutil.copy(tmp_path / "bin" / "deployctl", tmp_path / "bin" / "ssh")
    at = {"DOCKER_AT": "ssh://ops@gpu-1", "KNOWN_HOSTS": "gpu-1 ssh-ed25519 AAAA", "SSH_KEY": "k"}
    done = act("connect", **{**NOWHERE, **at})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "environment").read_text() == "DOCKER_HOST=ssh://ops@gpu-1\n"
    folder = tmp_path / "deployctl-target"
    assert (folder / "known_hosts").read_text() == "gpu-1 ssh-ed25519 AAAA\n"
    assert (folder / "key").stat().st_mode & 0o777 == 0o600
    wrapper = (folder / "bin" / "ssh").read_text()
    assert f"exec {tmp_path}/bin/ssh -o" in wrapper
    assert "StrictHostKeyChecking=yes" in wrapper
    assert f"-i {folder}/key" in wrapper
    assert (tmp_path / "path").read_text() == f"{folder}/bin\n"
    assert act("connect end", **NOWHERE).returncode == 0
    assert not folder.exists()


def test_that_no_key_came_is_said(act, tmp_path):
    """GitHub gives a name that holds nothing, and says nothing of it."""
    shutil.copy(tmp_path / "bin" / "deployctl", tmp_path / "bin" / "ssh")
    done = act("connect", **{**NOWHERE, "DOCKER_AT": "ssh://ops@gpu-1"})
    assert done.returncode == 0
    assert done.stdout.startswith("::notice title=deployctl::no DEPLOYCTL_SSH_KEY was handed on")
    assert "IdentitiesOnly" not in (tmp_path / "deployctl-target" / "bin" / "ssh").read_text()


def test_nothing_is_connected_that_is_not_asked_for(act, tmp_path):
    assert act("connect", **NOWHERE).returncode == 0
    assert (tmp_path / "environment").read_text() == ""
    assert not (tmp_path / "deployctl-target").exists()


class _Issuer(BaseHTTPRequestHandler):
    """Gives tokens as GitHub's endpoint does."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers["Authorization"]))
        claims = base64.urlsafe_b64encode(json.dumps({"exp": 1_800_000_030}).encode()).decode()
        content = json.dumps({"value": f"head.{claims.rstrip('=')}.sign"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def test_a_cluster_lets_the_job_in_by_a_token_that_lives_for_minutes(act, tmp_path):
    pem = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"
    at = {"CLUSTER": "https://k8s.example:6443", "CLUSTER_CA": pem, "AUDIENCE": "us"}
    done = act("connect", **{**NOWHERE, **at})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    file = tmp_path / "deployctl-target" / "kubeconfig"
    assert (tmp_path / "environment").read_text() == f"KUBECONFIG={file}\n"
    config = yaml.safe_load(file.read_text())
    [cluster] = config["clusters"]
    assert cluster["cluster"]["server"] == "https://k8s.example:6443"
    told = base64.b64decode(cluster["cluster"]["certificate-authority-data"]).decode()
    assert told == pem
    program = config["users"][0]["user"]["exec"]
    server = HTTPServer(("127.0.0.1", 0), _Issuer)
    server.asked = []
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    env = {each["name"]: each["value"] for each in program["env"]}
    env["ACTIONS_ID_TOKEN_REQUEST_URL"] = f"http://127.0.0.1:{server.server_port}/?a=b"
    env |= {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t", "PATH": os.environ["PATH"]}
    said = subprocess.run([program["command"]], env=env, capture_output=True, text=True, check=True)
    thread.join()
    server.server_close()
    assert server.asked == [("/?a=b&audience=us", "bearer t")]
    credential = json.loads(said.stdout)
    assert credential["apiVersion"] == program["apiVersion"]
    assert credential["status"]["expirationTimestamp"] == "2027-01-15T08:00:00Z"
    assert credential["status"]["token"].startswith("head.")


def test_a_runner_s_own_deployctl_is_used_where_it_has_one(act, tmp_path):
    own = tmp_path / "own"
    (own / "bin").mkdir(parents=True)
    shutil.copy(tmp_path / "bin" / "deployctl", own / "bin" / "deployctl")
    install = "../setup/install install"
    done = act(install, INSTALLED=str(own), CACHE="")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "path").read_text() == f"{tmp_path}/deployctl-bin\n"
    assert (tmp_path / "deployctl-bin" / "deployctl").resolve() == own / "bin" / "deployctl"
    done = act(install, INSTALLED=str(tmp_path / "no"), CACHE="")
    assert (done.returncode, done.stdout.split("::")[1]) == (2, "error title=deployctl")
