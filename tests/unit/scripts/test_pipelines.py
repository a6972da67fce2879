"""The pages on pipelines: what they tell people to copy is sound, and calls what there is."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer.main
import yaml

from deployctl.cli.app import build

ROOT = Path(__file__).resolve().parents[3]
GUIDES = ROOT / "docs" / "guides"
PAGES = ("runners.md", "shell.md", "gitlab.md")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page, *kinds):
    return [text for kind, text in FENCE.findall((GUIDES / page).read_text()) if kind in kinds]


def workflows():
    texts = (text for text in blocks("runners.md", "yaml"))
    return {yaml.safe_load(text)["name"]: text for text in texts if "\njobs:" in text}


def steps(name):
    for job in yaml.safe_load(workflows()[name])["jobs"].values():
        for step in job.get("steps", ()):
            yield step.get("name", ""), step.get("run", "")


def test_a_workflow_of_ours_is_called_with_inputs_that_it_has():
    [job] = yaml.safe_load(workflows()["deploy"])["jobs"].values()
    name = re.fullmatch(r"OWNER/deployctl/(\.github/workflows/\w+\.yml)@v1", job["uses"])[1]
    ours = yaml.safe_load((ROOT / name).read_text())
    inputs = ours[True]["workflow_call"]["inputs"]  # YAML 1.1 reads `on` as true
    assert job["with"].keys() <= inputs.keys()
    assert job["permissions"] == ours["jobs"]["deploy"]["permissions"]
    assert inputs["audience"]["default"] in blocks("runners.md", "yaml")[1]


def scripts():
    return {f"{page}-{n}": text for page in PAGES for n, text in enumerate(blocks(page, "bash"))}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A repository that holds each of the workflows."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / ".github/workflows").mkdir(parents=True)
    for name, text in workflows().items():
        (folder / ".github/workflows" / f"{name}.yml").write_text(text)
    return folder


def test_there_is_a_workflow_for_each_place_of_the_card():
    assert workflows().keys() == {"check", "deploy", "gate", "measure-on-a-rented-card", "sweep"}
    for text in workflows().values():
        document = yaml.safe_load(text)
        assert document["permissions"] == {}
        for job in document["jobs"].values():
            assert job["permissions"]
            assert "uses" in job or job["timeout-minutes"]


def test_zizmor_finds_nothing_unsafe(checkout, tmp_path):
    # A tag for GitHub's own actions and for ours, as in the other guides; others by commit.
    rules = {
        "unpinned-uses": {"config": {"policies": {"actions/*": "ref-pin", "OWNER/*": "ref-pin"}}}
    }
    config = tmp_path / "zizmor.yml"
    config.write_text(yaml.safe_dump({"rules": rules}))
    words = ["zizmor", "--offline", "--quiet", "--config", config, checkout]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_finds_nothing_wrong(checkout):
    tool = subprocess.run([ROOT / "scripts/tool", "actionlint"], capture_output=True, text=True)
    if tool.returncode:
        pytest.skip("actionlint is not here")
    files = sorted((checkout / ".github/workflows").glob("*.yml"))
    # SC2086: hosts are several words, split on purpose.
    words = [
        tool.stdout.strip(),
        "-ignore",
        "SC2086",
        "-ignore",
        'label "(inside|gpu|l4)" is unknown',
    ]
    done = subprocess.run([*words, *files], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("text", scripts().values(), ids=scripts())
def test_shellcheck_finds_nothing_wrong(text):
    words = ["shellcheck", "--exclude", "SC2086", "-"]
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def gitlab():
    return yaml.safe_load(blocks("gitlab.md", "yaml")[0])


def lines():
    """Every line that calls deployctl: of GitLab's jobs, of workflows, of scripts."""
    jobs = [job for job in gitlab().values() if isinstance(job, dict)]
    texts = [line for job in jobs for line in job.get("script", ())]
    texts += [run for name in workflows() for _, run in steps(name)]
    texts += [text for page in PAGES for text in blocks(page, "bash", "console")]
    for text in texts:
        text = re.sub(r"^ *#.*$", "", text, flags=re.MULTILINE)
        yield from re.findall(r"(?<![/\w$-])deployctl ([a-z-]+[^\n;&|]*)", text)


def options(command):
    return {o for p in command.params for o in (*p.opts, *p.secondary_opts)}


def test_each_line_calls_a_verb_with_flags_that_it_has():
    verbs = typer.main.get_command(build(every=True)).commands
    found = list(lines())
    assert {line.split()[0] for line in found} >= {
        "plan",
        "render",
        "check",
        "up",
        "loadtest",
        "down",
    }
    for line in found:
        verb, *words = shlex.split(line.replace("'", ""))
        assert verb in verbs, line
        flags = {word.split("=")[0] for word in words if word.startswith("--")}
        assert flags <= options(verbs[verb]), line


def test_gitlab_runs_the_stages_in_order_and_one_job_at_a_time():
    document = gitlab()
    jobs = {name: job for name, job in document.items() if "script" in job}
    assert [job["stage"] for job in jobs.values()] == document["stages"]
    on_a_card = [job for job in jobs.values() if "tags" in job]
    assert {job["resource_group"] for job in on_a_card} == {"chat"}
    for job in on_a_card:
        assert job["rules"] == [{"if": "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"}]


@pytest.fixture
def acting(tmp_path):
    """Runs a script with programs that are stand-ins and write down how they were called."""

    def run(script, programs, **environment):
        for name, body in programs.items():
            file = tmp_path / "bin" / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(f'#!/bin/bash\necho "{name} $*" >>"{tmp_path}/asked"\n{body}\n')
            file.chmod(0o755)
        env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", **environment}
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", script],
            env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        asked = tmp_path / "asked"
        return done, asked.read_text().splitlines() if asked.exists() else []

    return run


AWS = 'case "$2" in describe-instances) printf "%s" "{hosts}" ;; *) exit {code} ;; esac'
ENDING = [
    (name, run)
    for name in ("measure-on-a-rented-card", "sweep")
    for title, run in steps(name)
    if title.startswith(("End", "Sweep"))
]


@pytest.mark.parametrize(("workflow", "script"), ENDING, ids=["run", "job", "sweeper"])
def test_every_host_that_is_found_is_ended(acting, workflow, script):
    hosts = "i-1\ti-2\ni-3"
    done, asked = acting(script, {"aws": AWS.format(hosts=hosts, code=0)}, GITHUB_RUN_ID="77")
    assert asked[-1] == "aws ec2 terminate-instances --instance-ids i-1 i-2 i-3"
    assert ("tag:deployctl-run,Values=77" in asked[0]) == (workflow != "sweep")
    # A host that outlived its run is news: the sweeper ends it and fails.
    assert done.returncode == (workflow == "sweep")


@pytest.mark.parametrize(("workflow", "script"), ENDING, ids=["run", "job", "sweeper"])
def test_nothing_is_ended_where_nothing_is_left_and_a_failure_shows(acting, workflow, script):
    done, asked = acting(script, {"aws": AWS.format(hosts="", code=0)}, GITHUB_RUN_ID="77")
    assert (done.returncode, len(asked)) == (0, 1)
    done, _ = acting(script, {"aws": AWS.format(hosts="i-1", code=254)}, GITHUB_RUN_ID="77")
    assert done.returncode != 0
    done, _ = acting(script, {"aws": "exit 255"}, GITHUB_RUN_ID="77")
    assert done.returncode != 0


def hook():
    return next(text for text in blocks("runners.md", "bash") if "nvidia-smi" in text)


NOTHING_SLEPT = {"sleep": ""}


def places(tmp_path):
    for name in ("work", "temp"):
        (tmp_path / name / "left").mkdir(parents=True)
        (tmp_path / name / ".git").mkdir()
    return {"GITHUB_WORKSPACE": str(tmp_path / "work"), "RUNNER_TEMP": str(tmp_path / "temp")}


def test_the_hook_leaves_no_container_and_no_file(acting, tmp_path):
    docker = '[ "$1" != ps ] || printf "a\\nb\\n"'
    programs = {"docker": docker, "nvidia-smi": "", **NOTHING_SLEPT}
    done, asked = acting(hook(), programs, **places(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "docker rm --force a b" in asked
    assert not [*(tmp_path / "work").iterdir(), *(tmp_path / "temp").iterdir()]


def test_the_hook_fails_the_job_where_the_card_is_held(acting, tmp_path):
    programs = {"docker": "", "nvidia-smi": "echo 4711, python3", **NOTHING_SLEPT}
    done, asked = acting(hook(), programs, **places(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "the card is still held by 4711, python3\n"
    assert asked.count("sleep 2") == 30
    assert not [line for line in asked if "docker rm" in line]
