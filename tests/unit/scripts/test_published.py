"""A version is published once: what scripts/published.py says of what a registry has."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
AT = "registry.example/org/app/chart:1.2.0"
REVISION = "org.opencontainers.image.revision"


@pytest.fixture
def asked(tmp_path):
    """Runs the script, with a docker that answers as its registry does."""

    def ask(kind, ours, *, has=None, error="", code=1):
        (tmp_path / "has").write_text(has or "")
        stub = tmp_path / "docker"
        ends = f"echo '{error}' >&2; exit {code}" if has is None else f"cat {tmp_path}/has"
        stub.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/words\n{ends}\n')
        stub.chmod(0o755)
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / "published.py", kind, AT, ours],
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (tmp_path / "words").read_text() == f"buildx imagetools inspect --raw {AT}\n"
        return done.returncode, done.stdout, done.stderr

    return ask


def index(revision):
    return json.dumps({"manifests": [], "annotations": {REVISION: revision}})


def test_what_is_not_there_is_published(asked):
    for kind in ("image", "chart"):
        assert asked(kind, "x", error=f"ERROR: {AT}: not found") == (0, "", "")


@pytest.mark.parametrize("error", ["ERROR: denied", "dial tcp: no such host", "", "not found: no"])
def test_a_registry_that_does_not_say_is_no_leave_to_publish(asked, error):
    code, out, err = asked("image", "x", error=error)
    assert (code, out) == (1, "")
    assert "the registry does not say" in err


def test_no_line_of_what_a_registry_says_is_a_command_to_the_runner(asked):
    _, _, err = asked("image", "x", error="ERROR: 100% wrong\n::stop-commands::x")
    assert err.startswith("::error title=release::")
    assert err.endswith("100%25 wrong%0A::stop-commands::x\n")
    assert err.count("\n") == 1


def test_an_image_of_the_same_commit_is_not_built_again(asked):
    has = index("a" * 40)
    digest = f"sha256:{hashlib.sha256(has.encode()).hexdigest()}"
    assert asked("image", "a" * 40, has=has) == (0, f"{digest}\n", "")


@pytest.mark.parametrize("has", [index("b" * 40), "{}", "[]", "no json", '{"annotations": null}'])
def test_another_image_of_the_version_is_refused(asked, has):
    code, out, err = asked("image", "a" * 40, has=has)
    assert (code, out) == (1, "")
    assert "is another one: a version is published once" in err
    assert err.count("\n") == 1


def test_a_chart_is_the_same_where_its_archive_is(asked, tmp_path):
    file = tmp_path / "chart.tgz"
    file.write_bytes(b"chart")
    layer = {"digest": f"sha256:{hashlib.sha256(b'chart').hexdigest()}"}
    code, out, _ = asked("chart", str(file), has=json.dumps({"layers": [layer]}))
    assert (code, out[:7]) == (0, "sha256:")
    for layers in ([{"digest": "sha256:0"}], [], [layer, layer]):
        assert asked("chart", str(file), has=json.dumps({"layers": layers}))[0] == 1


def test_what_is_published_is_looked_up_first_and_nothing_that_helps_is_by_tag():
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    steps = jobs["images"]["steps"]
    [push] = [step for step in steps if step.get("id") == "push"]
    assert push["if"] == "steps.known.outputs.digest == ''"
    names = [step.get("id") for step in steps]
    assert names.index("known") < names.index("push")
    assert push["with"]["annotations"] == f"index:{REVISION}=${{{{ github.sha }}}}"
    [charts] = [step["run"] for step in jobs["charts"]["steps"] if "helm push" in str(step)]
    assert charts.index("published.py chart") < charts.index("helm push")
    pinned = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}$")
    started = {"image": "qemu", "driver-opts": "buildx", "sbom": "push"}
    for key, of in started.items():
        [image] = [step["with"][key] for step in steps if key in step.get("with", {})]
        assert pinned.search(image), of
    for file in (ROOT / "docker").glob("*.Dockerfile"):
        [base] = re.findall(r"^FROM (\S+) AS upstream$", file.read_text(), re.MULTILINE)
        assert pinned.fullmatch(base), file
