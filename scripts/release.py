"""Makes what a release consists of, from the commit that is checked out and from nothing else.

    python scripts/release.py v0.2.0 --to dist

    dist/python/                    sdist, and the wheel that is built from it
    dist/charts/                    each chart as an archive
    dist/deployctl-0.2.0.cdx.json   what is installed with the wheel, as a CycloneDX bill
    dist/SHA256SUMS                 of all these, by name
    dist/NOTES.md                   the changelog's section

Refused (2) where tag, package, charts and changelog do not agree, or the wheel lacks a file. The
same commit gives the same bytes: every date is its own, or SOURCE_DATE_EPOCH's where that is set.
requirements/release.txt is what this needs, and helm and cyclonedx-bom, which `.ci/helm` and
`.ci/helm cyclonedx` fetch.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from datetime import date
from io import BytesIO
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
_TAG = re.compile(r"v(\d+\.\d+\.\d+)")
_SECTION = re.compile(r"^## \[?([^]\s]+)\]?(?: - (\S+))?[ \t]*$", re.MULTILINE)


class RefusedError(Exception):
    """What keeps the release from being made; the second argument is how to mend it."""


def main() -> int:
    """Makes the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("tag", help="the version's tag, such as v0.2.0")
    parser.add_argument("--to", type=Path, required=True, help="an empty folder, or a new one")
    given = parser.parse_args()
    try:
        release(ROOT, given.tag, given.to.resolve())
    except RefusedError as refused:
        what, hint = refused.args
        print(f"error: {what}\n hint: {hint}", file=sys.stderr)
        return 2
    return 0


def release(root: Path, tag: str, to: Path) -> None:
    """Makes everything of a release of the commit that `root` has checked out."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise RefusedError(f"{to} is not an empty folder", "name another, or empty it")
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or _git(root, "log", "-1", "--format=%ct")
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        with tarfile.open(fileobj=BytesIO(_run(["git", "archive", "HEAD"], root))) as archive:
            _extract(archive, tree)
        version = agreed(tree, tag)
        said = notes((tree / "CHANGELOG.md").read_text(), version)
        to.mkdir(parents=True, exist_ok=True)
        python(tree, to / "python", epoch)
        charts(tree, to / "charts", int(epoch))
        (to / f"deployctl-{version}.cdx.json").write_text(bill(tree, version))
        (to / "SHA256SUMS").write_text(sums(to))
        (to / "NOTES.md").write_text(said)
    for file in sorted(to.rglob("*.*")):
        print(file.relative_to(to))


def agreed(tree: Path, tag: str) -> str:
    """The version that the tag names, which package and charts must have too."""
    match = _TAG.fullmatch(tag)
    if not match:
        raise RefusedError(f"{tag!r} names no version", "tag a release v1.2.3")
    version = match[1]
    package = (tree / "operator/deployctl/__init__.py").read_text()
    said = {"operator/deployctl/__init__.py": re.findall(r'^__version__ = "(.*)"', package, re.M)}
    for chart in sorted(tree.glob("charts/*/Chart.yaml")):
        said[str(chart.relative_to(tree))] = [yaml.safe_load(chart.read_text())["version"]]
    for file, found in said.items():
        if found != [version]:
            raise RefusedError(
                f"{file} has version {', '.join(found) or 'none'}, the tag {version}",
                "give both the same version, and tag the commit that does",
            )
    return version


def notes(changelog: str, version: str) -> str:
    """The changelog's section of a version: its newest, with nothing above that is due."""
    found = list(_SECTION.finditer(changelog))
    ends = [match.start() for match in found[1:]] + [len(changelog)]
    sections = [(m, changelog[m.end() : end].strip()) for m, end in zip(found, ends, strict=False)]
    if sections and sections[0][0][1] == "Unreleased":
        if sections[0][1]:
            raise RefusedError(
                "CHANGELOG.md has changes under [Unreleased]", f"move them to [{version}]"
            )
        del sections[0]
    today = date.today().isoformat()
    if not sections or sections[0][0][1] != version:
        raise RefusedError(
            f"CHANGELOG.md does not begin with {version}",
            f"begin it with '## [{version}] - {today}'",
        )
    match, text = sections[0]
    try:
        date.fromisoformat(match[2] or "")
    except ValueError:
        raise RefusedError(
            f"CHANGELOG.md does not say when {version} is of", f"'## [{version}] - {today}'"
        ) from None
    if not text:
        raise RefusedError(f"CHANGELOG.md says nothing of {version}", "say what changes for users")
    return text + "\n"


def python(tree: Path, to: Path, epoch: str) -> None:
    """Builds the sdist, and the wheel from what the sdist holds."""
    env = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(to), "--target"]
    _run([*build, "sdist"], tree, env)
    [sdist] = to.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(sdist) as archive:
            _extract(archive, Path(scratch))
        _run([*build, "wheel"], Path(scratch) / sdist.name.removesuffix(".tar.gz"), env)
    [wheel] = to.glob("*.whl")
    whole(wheel, tree)


def whole(wheel: Path, tree: Path) -> None:
    """Refuses a wheel that has not every file of its packages and data folders, and no other."""
    expected = dict(_belonging(tree))
    with zipfile.ZipFile(wheel) as archive:
        has = {name for name in archive.namelist() if ".dist-info/" not in name}
        wrong = sorted(
            (has ^ expected.keys())
            | {name for name in has & expected.keys() if archive.read(name) != expected[name]}
        )
    if wrong:
        raise RefusedError(
            f"the wheel is not what the commit holds: {', '.join(wrong[:5])}",
            "[tool.hatch.build.targets.wheel] of pyproject.toml says what belongs in it",
        )


def _belonging(tree: Path) -> Iterator[tuple[str, bytes]]:
    """Every file that a wheel must have: its name in there, and what it holds."""
    project = tomllib.loads((tree / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    places = {package: Path(package).name for package in wheel["packages"]}
    for source, place in (places | wheel["force-include"]).items():
        for file in (tree / source).rglob("*"):
            if file.is_file():
                yield f"{place}/{file.relative_to(tree / source)}", file.read_bytes()


def charts(tree: Path, to: Path, epoch: int) -> None:
    """Packs each chart. helm takes the files' own dates."""
    to.mkdir()
    for chart in sorted(tree.glob("charts/*/Chart.yaml")):
        for path in (chart.parent, *chart.parent.rglob("*")):
            os.utime(path, (epoch, epoch))
        _run([_helm(), "package", str(chart.parent), "--destination", str(to)], tree)


def bill(tree: Path, version: str) -> str:
    """What is installed with the wheel, each file of it by its hash, as CycloneDX.

    https://cyclonedx.org/docs/1.6/json
    """
    own = ROOT / ".tools" / "cyclonedx" / "bin" / "python"
    python = str(own) if own.exists() else sys.executable
    words = [python, "-m", "cyclonedx_py", "requirements", "requirements/deployctl.txt"]
    words += ["--pyproject", "pyproject.toml", "--output-reproducible", "--spec-version", "1.6"]
    document = json.loads(_run(words, tree))
    # pyproject.toml says no version: hatchling takes it from the package.
    document["metadata"]["component"]["version"] = version
    document["metadata"]["component"]["purl"] = f"pkg:pypi/deployctl@{version}"
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def sums(folder: Path) -> str:
    """What `sha256sum --check` reads, for files that lie side by side."""
    files = sorted((file for file in folder.rglob("*") if file.is_file()), key=lambda f: f.name)
    return "".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files)


def _helm() -> str:
    own = ROOT / ".tools" / "bin" / "helm"
    return str(own) if own.exists() else "helm"


def _extract(archive: tarfile.TarFile, to: Path) -> None:
    """All of an archive of our own; early 3.11 has no filter."""
    if hasattr(tarfile, "data_filter"):
        archive.extractall(to, filter="data")
    else:
        archive.extractall(to)  # noqa: S202


def _git(root: Path, *words: str) -> str:
    return _run(["git", *words], root).decode().strip()


def _run(words: list[str], where: Path, env: dict[str, str] | None = None) -> bytes:
    """What a program prints; what it complains of where it fails."""
    try:
        done = subprocess.run(words, cwd=where, env=env, capture_output=True)
    except FileNotFoundError:
        raise RefusedError(f"{words[0]} is not here", "see the last line of --help") from None
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise RefusedError(f"{' '.join(words[:4])} … failed:\n{said}", "mend what it names")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
