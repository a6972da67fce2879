"""docs/guides/keys.md and the door's part of docs/guides/docker.md, as they are written: their
commands run in order on the fake engine behind the real door, and what they give Prometheus is held
against what that door exports. Where there is a Prometheus, it is given all of it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

import ports
from process_parts import PYTHONPATH, write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "guides" / "keys.md").read_text()
DOCKER = (ROOT / "docs" / "guides" / "docker.md").read_text()
KUBERNETES = GUIDE.index("## On Kubernetes")
NEEDED = ("bash", "curl", "jq", "openssl")
LONG_S = 300
# What an engine of its own says, or a moment: dates, ids, lengths.
VARIES = re.compile(r"\d{4}-\d\d-\d\d(?: \d\d:\d\d UTC)?|[0-9a-f]{32}|GMT|retry-after: \d+| +")
NOT_HERE = ("prompt_tokens", "tokens_total", "content-length:", "date:", "server:", '{"time":', "…")

pytestmark = pytest.mark.skipif(
    any(shutil.which(each) is None for each in NEEDED), reason=f"needs {', '.join(NEEDED)}"
)


def blocks(text, kind):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for of, block in found if of == kind]


def commands(block):
    """The commands of a block, each with what it is shown to say; a bash block is one."""
    if not block.startswith("$ "):
        return [(block, [])]
    found = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif is_incomplete(found[-1][0]):
            found[-1] = (f"{found[-1][0]}\n{line}", [])
        else:
            found[-1][1].append(line)
    return found


def is_incomplete(command):
    said = subprocess.run(["bash", "-n"], input=command, text=True, capture_output=True).stderr
    return command.endswith("\\") or "unexpected end of file" in said


class Reader:
    """Somebody who types what a guide says, in a home and a shell of their own."""

    def __init__(self, folder, port):
        self.home, self.port = folder / "home", port
        self.models = self.home / "models"
        self.models.mkdir(parents=True)
        write_checkpoint(self.models / "tiny-awq")
        write_checkpoint(self.models / "my-awq-model")
        bin_ = folder / "bin"
        bin_.mkdir()
        (bin_ / "deployctl").write_text(f'#!/bin/sh\nexec {sys.executable} -m deployctl "$@"\n')
        (bin_ / "deployctl").chmod(0o755)
        kept = {name: os.environ[name] for name in ("LANG",) if name in os.environ}
        tools = ROOT / ".tools" / "bin"
        self.environment = {
            **kept, "HOME": str(self.home), "PYTHONPATH": PYTHONPATH, "NO_COLOR": "1",
            "PATH": f"{bin_}:{os.environ['PATH']}:{tools}",
        }  # fmt: skip

    def types(self, typed):
        """What each of the commands says, on either output."""
        lines = ["set +m"]
        for command in typed:
            changed = command.replace(":8000", f":{self.port}")
            changed = changed.replace("deployctl up ", f"deployctl up --port {self.port} ")
            lines += [changed, 'printf "\\n@@@ %d\\n" $?']
        done = subprocess.run(
            ["bash", "-c", "\n".join(lines)],
            cwd=self.models, env=self.environment, text=True, timeout=LONG_S,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        said = re.split(r"\n@@@ (\d+)\n", done.stdout)
        assert len(said) == 2 * len(typed) + 1, done.stdout[-2000:]
        for command, text, code in zip(typed, said[::2], said[1::2], strict=False):
            assert code == "0", f"{command}\n{text}"
        return [text.replace(str(self.home), "~") for text in said[:-1:2]]

    def token(self):
        state = self.home / ".local" / "state" / "deployctl"
        (file,) = state.glob("process/*/operator_token")
        return file

    def metrics(self):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/metrics",
            headers={"Authorization": f"Bearer {self.token().read_text()}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()


@pytest.fixture
def reader(tmp_path, free_port):
    made = Reader(tmp_path, free_port)
    yield made
    made.types(["deployctl down --all"])


def plain(line):
    return VARIES.sub(" ", line.replace("\r", "")).strip()


def is_as_shown(said, shown):
    there = {plain(line) for line in said.splitlines()}
    left = [line for line in shown if line.strip() and not any(n in line for n in NOT_HERE)]
    assert not [line for line in left if plain(line) not in there], said


def test_the_guide_runs_as_it_is_written(reader):
    text = re.sub(r"^```(?:bash|console)\n", "```shell\n", GUIDE[:KUBERNETES], flags=re.MULTILINE)
    steps = [step for block in blocks(text, "shell") for step in commands(block)]
    said = reader.types([command for command, _ in steps])
    assert len(steps) > 20
    for (command, shown), heard in zip(steps, said, strict=True):
        if "| jq" in command or "grep ^deployctl_door" in command:
            continue  # usage, and how often it was asked: an engine of its own
        if "revoke chat bob" not in command:
            is_as_shown(heard, shown)
            continue
        before, after = heard.split("bob of chat is revoked: the engine that runs refuses it")
        statuses = [each.split() for each in (before, after)]
        assert set(statuses[1]) <= {"401"}
        assert set(statuses[0]) <= {"200", "401"}
        assert len(statuses[0] + statuses[1]) == 12
        assert all(a <= b for a, b in pairwise(statuses[0]))
    held_against_the_door(reader)


def held_against_the_door(reader):
    """The guide's metrics and queries: their names and labels, and by Prometheus itself."""
    page = reader.metrics()
    has = {name: set(re.findall(r'(\w+)="', labels or "")) for name, labels in samples(page)}
    reasons = set(re.findall(r'reason="(\w+)"', page))
    (listing,) = (block for block in blocks(GUIDE, "console") if "grep ^deployctl_door" in block)
    for name, labels in samples(listing):
        if "tokens_total" not in name:  # the fake engine's short answers cost nothing
            assert set(re.findall(r'(\w+)="', labels or "")) == has[name]
    (queries,) = blocks(GUIDE, "")
    for name in re.findall(r"deployctl_door_\w+", queries):
        assert f"# TYPE {name} counter\n" in page
    assert re.findall(r"by \((\w+)\)", queries) == ["key", "key"]
    assert set(re.findall(r'reason="(\w+)"', queries)) <= reasons
    if shutil.which("prometheus"):
        asked_by_prometheus(reader, queries.splitlines())


def samples(text):
    return re.findall(r"^(deployctl_door_\w+)(?:\{(.*)\})? \d+$", text, re.MULTILINE)


def test_prometheus_is_told_what_it_knows():
    """Fields of its own configuration, and of the operator's monitors."""
    scrape, monitor = (yaml.safe_load(block) for block in blocks(GUIDE, "yaml"))
    (job,) = scrape["scrape_configs"]
    assert job.keys() == {"job_name", "authorization", "static_configs"}
    assert job["authorization"].keys() == {"credentials_file"}
    (endpoint,) = monitor["podMetricsEndpoints"]
    values = yaml.safe_load((ROOT / "charts" / "vllm" / "values.yaml").read_text())
    golden = (ROOT / "tests" / "golden" / "helm" / "maximal.yaml").read_text()
    monitors = [
        each for each in yaml.safe_load_all(golden) if each and each["kind"] == "PodMonitor"
    ]
    rendered = [one for each in monitors for one in each["spec"]["podMetricsEndpoints"]]
    told = [one["authorization"] for one in rendered if "authorization" in one]
    assert told
    credentials = endpoint["authorization"]["credentials"]
    assert all(one["credentials"].keys() == credentials.keys() for one in told)
    assert credentials["key"] == values["operatorToken"]["key"]
    assert "`authorization: {credentials_file: …/operator_token}`" in DOCKER


def asked_by_prometheus(reader, queries):
    """The guide's configuration with this service's address and token, by Prometheus itself."""
    text = next(block for block in blocks(GUIDE, "yaml") if "scrape_configs" in block)
    text = text.replace("gpu1.example.com:8000", f"127.0.0.1:{reader.port}")
    text = text.replace("/etc/prometheus/secrets/chat_operator_token", str(reader.token()))
    folder = reader.home / "prometheus"
    folder.mkdir()
    (folder / "prometheus.yml").write_text("global: {scrape_interval: 1s}\n" + text)
    port = ports.free()
    words = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*words, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
        )
    try:
        end = time.monotonic() + 60
        while not (up := result(port, "up")) or up[0]["value"][1] != "1":
            assert time.monotonic() < end, (up, (folder / "log").read_text())
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.2)
        for query in queries:
            assert result(port, query) is not None
        keys = {one["metric"]["key"] for one in result(port, "deployctl_door_requests_total")}
        assert {"alice", "bob", "carol", "ci", "default"} <= keys
    finally:
        process.terminate()
        process.wait(30)


def result(port, query):
    """What Prometheus answers; None where it does not, or not yet."""
    asked = urllib.parse.urlencode({"query": query})
    try:
        url = f"http://127.0.0.1:{port}/api/v1/query?{asked}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]["result"]
    except (urllib.error.URLError, ConnectionError):
        return None


@pytest.mark.skipif(
    shutil.which("kubectl") is None and not (ROOT / ".tools/bin/kubectl").exists(),
    reason="needs kubectl",
)
def test_the_file_for_a_secret_is_made_as_it_is_written(reader):
    (block,) = (b for b in blocks(GUIDE[KUBERNETES:], "console") if b.startswith("$ "))
    steps = commands(block)
    said = reader.types([command for command, _ in steps])
    for (_, shown), heard in zip(steps, said, strict=True):
        is_as_shown(heard, shown)
    secret = yaml.safe_load(said[-1])
    assert secret["data"].keys() == {"keys.json", "operator_token"}


def test_the_door_s_part_of_the_guide_to_docker(reader):
    """On target process: keys, token and answers are the same, and so is the folder but for it."""
    section = DOCKER[DOCKER.index("## The door") :]
    block = blocks(section, "console")[0]
    steps = commands(block.replace("docker", "process"))
    said = reader.types([command for command, _ in steps])
    for (_, shown), heard in zip(steps, said, strict=True):
        is_as_shown(heard, shown)
    assert said[-1].startswith("deployctl_door_")
