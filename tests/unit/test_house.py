"""The house: folders, file sizes, links and generated pages."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    p
    for folder in ("operator", "loadtest", "scripts", "benchmarks", "tests")
    for p in sorted((ROOT / folder).rglob("*.py"))
]
PAGES = [
    p
    for p in sorted(ROOT.rglob("*.md"))
    if not any(part.startswith(".") or part == "results" for part in p.relative_to(ROOT).parts)
]
MAX_LINES = 350  # about 300; one idea a file


def test_no_top_level_folder_is_a_package():
    # `operator` and `docker` are names of a standard module and of an SDK.
    assert not [p for p in ROOT.glob("*/__init__.py") if p.parent.name != "benchmarks"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_short(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    local = [t for t in targets if "://" not in t and not t.startswith("mailto:")]
    assert not [t for t in local if not (page.parent / t).exists()]


@pytest.mark.parametrize("script", ["reference.py", "chart.py"])
def test_generated_files_are_fresh(script):
    done = subprocess.run(
        [sys.executable, f"scripts/{script}", "--check"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
