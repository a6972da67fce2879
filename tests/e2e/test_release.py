"""A release is made of the commit that is checked out, twice, with the same bytes."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def ready(tmp_path):
    """A clone of this commit whose changelog is ready for the version that it has."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(ROOT), str(clone))
    package = (clone / "operator/deployctl/__init__.py").read_text()
    version = re.search(r'__version__ = "(.*)"', package)[1]
    changelog = clone / "CHANGELOG.md"
    head, _, changes = changelog.read_text().partition("## [Unreleased]\n")
    changelog.write_text(f"{head}## [{version}] - 2026-11-27\n{changes}")
    git(clone, "commit", "--quiet", "--all", "--message", "Release")
    (clone / "operator/deployctl/left.py").write_text("not of the commit")
    (clone / ".tools").symlink_to(ROOT / ".tools")
    return clone, version


def make(clone, version, to):
    env = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    words = [sys.executable, clone / "scripts/release.py", f"v{version}", "--to", to]
    done = subprocess.run(words, cwd=to.parent, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = {file.name: file for file in to.rglob("*") if file.is_file()}
    return files, {name: hashlib.sha256(f.read_bytes()).hexdigest() for name, f in files.items()}


@pytest.mark.helm
@pytest.mark.scanner
def test_a_release_is_whole_and_the_same_each_time(ready, tmp_path):
    clone, version = ready
    files, digests = make(clone, version, tmp_path / "one")
    for path in clone.rglob("*.yaml"):  # when a checkout was made is nobody's business
        os.utime(path)
    assert make(clone, version, tmp_path / "two")[1] == digests

    wheel, sdist = f"deployctl-{version}-py3-none-any.whl", f"deployctl-{version}.tar.gz"
    bill, chart = f"deployctl-{version}.cdx.json", f"vllm-{version}.tgz"
    assert {wheel, sdist, bill, chart, "SHA256SUMS", "NOTES.md"} <= files.keys()
    listed = dict(
        reversed(line.split("  ")) for line in files["SHA256SUMS"].read_text().splitlines()
    )
    assert listed == {n: d for n, d in digests.items() if n not in ("SHA256SUMS", "NOTES.md")}

    with tarfile.open(files[chart]) as archive:
        assert {"vllm/Chart.yaml", "vllm/values.yaml"} <= set(archive.getnames())
    with tarfile.open(files[sdist]) as archive:
        assert not [name for name in archive.getnames() if name.endswith("left.py")]

    document = json.loads(files[bill].read_text())
    assert document["metadata"]["component"]["purl"] == f"pkg:pypi/deployctl@{version}"
    locked = (clone / "requirements/deployctl.txt").read_text()
    pins = set(re.findall(r"^([a-z0-9-]+)==(\S+)", locked, re.MULTILINE))
    assert {(c["name"], c["version"]) for c in document["components"]} == pins
    hashes = {h["content"] for h in _hashes(document)}
    assert hashes == set(re.findall(r"sha256:([0-9a-f]{64})", locked))


def _hashes(document):
    for component in document["components"]:
        for reference in component.get("externalReferences", ()):
            yield from reference.get("hashes", ())
