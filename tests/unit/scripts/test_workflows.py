"""The reusable workflows as those call them who copy from the pages, and that of a release."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
GITHUB = ROOT / ".github"


def test_what_a_release_builds_is_built_without_a_secret_and_published_after_the_checks():
    jobs = yaml.safe_load((GITHUB / "workflows" / "release.yml").read_text())["jobs"]
    assert jobs["build"]["permissions"] == {"contents": "read"}
    assert "secrets." not in str(jobs)
    assert "github.token" not in str(jobs["build"])
    assert [name for name, job in jobs.items() if "setup-python" in str(job)] == ["build"]
    publishing = jobs.keys() - {"build", "checks", "release"}
    assert {frozenset(jobs[name]["needs"]) for name in publishing} == {
        frozenset(("build", "checks"))
    }
    assert set(jobs["release"]["needs"]) == publishing


def test_a_release_takes_what_it_publishes_by_name():
    """What an image's build leaves of itself is an artefact too, and none that can be unpacked."""
    document = yaml.safe_load((GITHUB / "workflows" / "release.yml").read_text())
    taken = [s for job in document["jobs"].values() for s in job.get("steps", ())]
    taken = [step["with"] for step in taken if "download-artifact" in step.get("uses", "")]
    assert {(each.get("name"), each["path"]) for each in taken} == {
        ("dist", "dist"),
        ("signature", "signature"),
    }
    assert document[True]["push"]["tags"] == ["v[0-9]+.[0-9]+.[0-9]+"]
    assert "github.ref" in document["concurrency"]["group"]  # no tag takes another's place


def test_what_is_deployed_is_gated_before_the_next_is_deployed():
    document = yaml.safe_load((GITHUB / "workflows" / "services.yml").read_text())
    whole = document["concurrency"]
    assert {"github.ref", "inputs.environment", "inputs.file"} <= set(
        re.findall(r"\$\{\{ (\S+) \}\}", whole["group"])
    )
    assert whole["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"
    for name in ("plan", "deploy", "gate"):  # one that has the same would wait for itself
        own = yaml.safe_load((GITHUB / "workflows" / f"{name}.yml").read_text())["concurrency"]
        assert not own["group"].startswith("deployctl-services-")


@pytest.mark.parametrize("name", ["services", "deploy", "gate"])
def test_what_runs_at_two_places_waits_for_no_other(name):
    """Of those that wait GitHub keeps the newest: the others would be cancelled."""
    document = yaml.safe_load((GITHUB / "workflows" / f"{name}.yml").read_text())
    group = document["concurrency"]["group"]
    assert all(f"${{{{ inputs.{each} }}}}" in group for each in ("cluster", "docker-host"))


@pytest.mark.parametrize("name", ["deploy", "gate"])
def test_a_run_that_is_refused_before_it_has_a_checkout_takes_nothing_away(name):
    """It would fail a second time, by a file that is not there."""
    jobs = yaml.safe_load((GITHUB / "workflows" / f"{name}.yml").read_text())["jobs"]
    steps = jobs[name]["steps"]
    scripts = {step["run"]: step for step in steps if "connect" in step.get("run", "")}
    begins, ends = (f"deployctl/.github/actions/deployctl/connect{word}" for word in ("", " end"))
    assert scripts.keys() == {begins, ends}
    own = scripts[begins]["id"]
    assert scripts[ends]["if"] == f"always() && steps.{own}.outcome != 'skipped'"


def test_secrets_have_names_that_an_environment_can_hold():
    """The jobs that reach a target name the environment, and get its secrets, by their names."""
    for name, job in (("deploy", "deploy"), ("gate", "gate"), ("plan", None), ("tune", None)):
        document = yaml.safe_load((GITHUB / "workflows" / f"{name}.yml").read_text())
        declared = document[True]["workflow_call"]["secrets"]
        assert all(re.fullmatch(r"[A-Za-z_]\w*", each) for each in declared)
        assert not any(each.get("required") for each in declared.values())
        assert set(re.findall(r"secrets\.([\w-]+)", str(document["jobs"]))) == declared.keys()
        if job is not None:
            environment = document["jobs"][job]["environment"]
            named = environment["name"] if isinstance(environment, dict) else environment
            assert named == "${{ inputs.environment }}"


@pytest.mark.parametrize("name", ["plan", "deploy", "gate", "tune"])
def test_who_calls_it_beside_a_stranger_s_change_is_refused_before_anything_is_read(name):
    """On pull_request_target a job has secrets, and a token that may write."""
    jobs = yaml.safe_load((GITHUB / "workflows" / f"{name}.yml").read_text())["jobs"]
    first = jobs[name]["steps"][0]
    assert first["if"] == "github.event_name == 'pull_request_target'"
    assert first["run"].splitlines()[-1] == "exit 3"
    assert all(name in job["needs"] for other, job in jobs.items() if other != name)


def test_no_kind_of_pull_request_is_deployed_and_each_is_planned():
    jobs = yaml.safe_load((GITHUB / "workflows" / "services.yml").read_text())["jobs"]
    assert jobs["plan"]["if"] == "startsWith(github.event_name, 'pull_request')"
    assert jobs["deploy"]["if"].startswith("!startsWith(github.event_name, 'pull_request') &&")
    assert jobs["gate"]["needs"] == "deploy"


def test_a_review_that_cannot_be_written_keeps_no_other_back(tmp_path):
    jobs = yaml.safe_load((GITHUB / "workflows" / "plan-comment.yml").read_text())["jobs"]
    script = jobs["comment"]["steps"][-1]["run"]
    (tmp_path / "bin").mkdir()
    stub = tmp_path / "bin" / "deployctl"
    stub.write_text('#!/bin/sh\necho "$2" >>written\ncase $2 in */a/*) exit 2 ;; esac\n')
    stub.chmod(0o755)
    env = dict.fromkeys(("OWNER", "BRANCH", "COMMIT", "LINK"), "x")
    env |= {"PATH": f"{stub.parent}:{os.environ['PATH']}", "RUNNER_TEMP": str(tmp_path)}

    def ran():
        words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        return subprocess.run(
            words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )

    done = ran()  # a run that failed before it left one
    assert (done.returncode, (tmp_path / "written").exists()) == (0, False)
    assert done.stdout == "::notice title=deployctl::the run left no review\n"
    for name in "abc":
        (tmp_path / "review" / name).mkdir(parents=True)
        (tmp_path / "review" / name / "review.json").touch()
    assert ran().returncode == 1
    assert len((tmp_path / "written").read_text().splitlines()) == 3


def test_no_load_test_passes_for_a_gate():
    """A runner's own deployctl may be one that gives no outputs: the gate is asked all the same."""
    jobs = yaml.safe_load((GITHUB / "workflows" / "gate.yml").read_text())["jobs"]
    steps = {step["id"]: step for step in jobs["gate"]["steps"] if "id" in step}
    condition = steps["gate"]["if"]
    assert condition.startswith("!cancelled() && (steps.load.outcome == 'success' || ")
    assert "continue-on-error" not in str(jobs)


def called():
    """Each job that calls a workflow of ours: in the pages, and in `services`."""
    texts = [GITHUB / "workflows" / "services.yml", ROOT / "README.md"]
    texts += sorted((ROOT / "docs" / "guides").glob("*.md"))
    for file in texts:
        text = file.read_text()
        blocks = [text] if file.suffix == ".yml" else re.findall(r"```yaml\n(.*?)```", text, re.S)
        for block in blocks:
            if ".github/workflows/" not in block or "\njobs:" not in block:
                continue
            for job in yaml.safe_load(block)["jobs"].values():
                if re.match(r"(OWNER/deployctl|\.)/\.github/workflows/", job.get("uses", "")):
                    yield pytest.param(job, id=f"{file.name}-{Path(job['uses']).name}")


@pytest.mark.parametrize("job", [*called()])
def test_who_calls_a_workflow_gives_what_it_takes(job):
    name = Path(job["uses"].split("@")[0]).name
    document = yaml.safe_load((GITHUB / "workflows" / name).read_text())
    takes = document[True]["workflow_call"]  # YAML's `on`
    inputs = takes["inputs"]
    assert job["with"].keys() <= inputs.keys()
    assert {key for key, each in inputs.items() if each.get("required")} <= job["with"].keys()
    handed = job.get("secrets", {})
    if handed == "inherit":  # of ours alone, which was given no more than it says
        assert job["uses"].startswith("./.github/")
    else:
        assert handed.keys() <= takes.get("secrets", {}).keys()
    ranks = {"none": 0, "read": 1, "write": 2}
    for inner in document["jobs"].values():
        for right, wanted in inner["permissions"].items():
            given = job["permissions"].get(right, "none")
            assert ranks[given] >= ranks[wanted], f"{right}: {wanted}"


def test_the_lines_that_a_stranger_copies_are_ten_at_most_and_the_same_everywhere():
    pages = [(ROOT / name).read_text() for name in ("README.md", "docs/guides/github-actions.md")]
    first, second = (
        next(b for b in re.findall(r"```yaml\n(.*?)```", page, re.S) if "services.yml" in b)
        for page in pages
    )
    assert first == second
    assert len(first.splitlines()) <= 10
