"""What keeps a release from being made: tag, package, charts and changelog that do not agree, a
wheel that lacks a file. That it is made is in tests/e2e/test_release.py.
"""

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def release():
    spec = importlib.util.spec_from_file_location("release", ROOT / "scripts" / "release.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HEAD = "# Changelog\n\n## [Unreleased]\n\n"
SECTION = "## [1.2.0] - 2026-11-27\n\n### Added\n\n- a thing\n\n"
OLDER = "## [1.1.0] - 2026-01-31\n\n- an older one\n"


def test_the_notes_are_the_section_and_nothing_else(release):
    expected = "### Added\n\n- a thing\n"
    assert release.notes(HEAD + SECTION + OLDER, "1.2.0") == expected
    assert release.notes("# Changelog\n\n" + SECTION, "1.2.0") == expected


@pytest.mark.parametrize(
    ("changelog", "said"),
    [
        (HEAD + "- a change\n\n" + SECTION, "has changes under [Unreleased]"),
        (HEAD + OLDER, "does not begin with 1.2.0"),
        (HEAD + OLDER + SECTION, "does not begin with 1.2.0"),
        (HEAD, "does not begin with 1.2.0"),
        ("", "does not begin with 1.2.0"),
        (HEAD + "## [1.2.0]\n\n- a thing\n", "does not say when"),
        (HEAD + "## [1.2.0] - soon\n\n- a thing\n", "does not say when"),
        (HEAD + "## [1.2.0] - 2026-13-01\n\n- a thing\n", "does not say when"),
        (HEAD + "## [1.2.0] - 2026-11-27\n\n" + OLDER, "says nothing of 1.2.0"),
    ],
)
def test_a_changelog_that_is_not_ready(release, changelog, said):
    with pytest.raises(release.RefusedError) as caught:
        release.notes(changelog, "1.2.0")
    assert said in caught.value.args[0]


def tree_of(folder, package="1.2.0", **charts):
    source = folder / "operator" / "deployctl" / "__init__.py"
    source.parent.mkdir(parents=True)
    source.write_text(f'"""deployctl"""\n\n__version__ = "{package}"\n')
    for name, version in charts.items():
        chart = folder / "charts" / name / "Chart.yaml"
        chart.parent.mkdir(parents=True)
        chart.write_text(f"apiVersion: v2\nname: {name}\nversion: {version}\n")
    return folder


def test_one_version_for_all(release, tmp_path):
    assert release.agreed(tree_of(tmp_path, vllm="1.2.0", other="1.2.0"), "v1.2.0") == "1.2.0"


@pytest.mark.parametrize(
    ("tag", "package", "chart", "said"),
    [
        ("v1.3.0", "1.2.0", "1.3.0", "__init__.py has version 1.2.0, the tag 1.3.0"),
        ("v1.2.0", "1.2.0", "0.1.0", "charts/vllm/Chart.yaml has version 0.1.0, the tag 1.2.0"),
        ("1.2.0", "1.2.0", "1.2.0", "'1.2.0' names no version"),
        ("v1.2", "1.2", "1.2", "names no version"),
        ("v1.2.0-rc1", "1.2.0", "1.2.0", "names no version"),
        ("v1.2.0\n", "1.2.0", "1.2.0", "names no version"),
    ],
)
def test_versions_that_do_not_agree(release, tmp_path, tag, package, chart, said):
    with pytest.raises(release.RefusedError) as caught:
        release.agreed(tree_of(tmp_path, package, vllm=chart), tag)
    assert said in caught.value.args[0]


@pytest.fixture
def wheel(tmp_path):
    """A wheel for a tree of a package and a data folder; names given as `without` are left out."""
    tree = tmp_path / "tree"
    for name in ("code/pkg/a.py", "code/pkg/part/b.py", "data/c.yaml"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    (tree / "pyproject.toml").write_text(
        '[tool.hatch.build.targets.wheel]\npackages = ["code/pkg"]\n'
        '[tool.hatch.build.targets.wheel.force-include]\n"data" = "pkg/_assets/data"\n'
    )
    holds = {
        "pkg/a.py": "code/pkg/a.py",
        "pkg/part/b.py": "code/pkg/part/b.py",
        "pkg/_assets/data/c.yaml": "data/c.yaml",
        "pkg-1.dist-info/METADATA": "Name: pkg",
    }

    def make(**changed):
        file = tmp_path / "pkg.whl"
        with zipfile.ZipFile(file, "w") as archive:
            for name, text in {**holds, **changed}.items():
                if text is not None:
                    archive.writestr(name, text)
        return file, tree

    return make


def test_a_wheel_with_all_its_files(release, wheel):
    release.whole(*wheel())


@pytest.mark.parametrize(
    "changed",
    [{"pkg/_assets/data/c.yaml": None}, {"pkg/a.py": "other"}, {"pkg/secret.key": "no one's"}],
    ids=["lacks a file of data", "has another text", "has more"],
)
def test_a_wheel_that_is_not_what_the_commit_holds(release, wheel, changed):
    [name] = changed
    with pytest.raises(release.RefusedError, match="the wheel is not what") as caught:
        release.whole(*wheel(**changed))
    assert name in caught.value.args[0]


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("x")
    words = [sys.executable, ROOT / "scripts" / "release.py", "v1.0.0", "--to", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    expected = f"error: {tmp_path} is not an empty folder\n hint: name another, or empty it\n"
    assert done.stderr == expected
    assert (tmp_path / "mine").read_text() == "x"
