""".ci/vulnerabilities: what it looks at, and what its exit code says; trivy and Docker are
stand-ins, as the database of one and the images of the other are not everywhere.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FILES = (".ci/vulnerabilities", ".ci/helm", "scripts/env.sh")
IMAGES = ("deployctl/vllm-cpu:1", "deployctl/loadtest:1", "deployctl/vllm-router:1")
FOLDERS = ("requirements", "docker", "loadtest")
TRIVY = """#!/usr/bin/env bash
case "$*" in
  --version) echo "Version: {version}"; exit ;;
  *--download-db-only*) exit {database} ;;
esac
echo "$*" >>asked
case "${{@: -1}}" in {vulnerable}) exit 10 ;; {unseen}) exit 1 ;; esac
"""


@pytest.fixture
def scan(tmp_path):
    """`scan(…)`: the ended script, and what trivy was asked."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)

    def run(
        *,
        images=(*IMAGES, "deployctl/empty:1"),
        vulnerable="-",
        unseen="-",
        database=0,
        version="0.59.1",
    ):
        listed = "exit 1" if images is None else "printf '%s\\n' " + " ".join(images)
        trivy = TRIVY.format(
            vulnerable=vulnerable, unseen=unseen, database=database, version=version
        )
        for path, text in {
            "bin/docker": f"#!/usr/bin/env bash\n{listed}\n",
            ".tools/bin/trivy": trivy,
        }.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
            (tmp_path / path).chmod(0o755)
        done = subprocess.run(
            [tmp_path / FILES[0]],
            env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        asked = tmp_path / "asked"
        return done, asked.read_text().splitlines() if asked.exists() else []

    return run


def test_all_that_is_installed_is_looked_at(scan):
    done, asked = scan()
    assert done.returncode == 0, done.stderr
    assert [line.split()[-1] for line in asked] == [*FOLDERS, *IMAGES]
    assert all("--exit-code 10" in line for line in asked)


def test_what_is_vulnerable_is_named_and_the_rest_is_looked_at(scan):
    done, asked = scan(vulnerable="docker | deployctl/loadtest:1", unseen="requirements")
    assert done.returncode == 1
    assert "known vulnerabilities in: docker deployctl/loadtest:1\n hint:" in done.stderr
    assert "could not be looked at: requirements" in done.stderr
    assert len(asked) == 6


def test_what_could_not_be_looked_at_is_no_good_news(scan):
    done, asked = scan(unseen="deployctl/*")
    assert done.returncode == 4
    assert f"could not be looked at: {' '.join(IMAGES)}" in done.stderr
    assert len(asked) == 6


@pytest.mark.parametrize(
    ("missing", "code", "said"),
    [
        ({"version": "0.1.0"}, 2, "run .ci/helm trivy"),
        ({"images": None}, 2, ".ci/docker-engine start"),
        ({"images": IMAGES[:2]}, 2, "no image deployctl/vllm-router\n hint: run .ci/docker-engine"),
        ({"database": 1}, 4, "try again later"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_looked_at(scan, missing, code, said):
    done, asked = scan(**missing)
    assert done.returncode == code
    assert said in done.stderr
    assert not asked
