"""What `deployctl check` reads: files, folders, standard input, and charts that helm fills in."""

import os
import sys
from pathlib import Path

from deployctl.checking import yamltext
from deployctl.cli.console import story
from deployctl.errors import DeployctlError, InputError, NotFoundError

MAX_FILES = 2000
MAX_TOTAL_BYTES = 64 * 1024 * 1024
STDIN = "-"
_SUFFIXES = (".yaml", ".yml", ".json")
_SKIPPED_FOLDERS = {"node_modules", "__pycache__", "venv"}
_CHART = "Chart.yaml"


def read(paths: list[str]) -> tuple[dict[str, str], list[str]]:
    """The texts of all paths by name, and which of them were named one by one.

    Raises:
        InputError: one is too large, not UTF-8, or cannot be read.
        NotFoundError: one is not there, or holds no manifest.
    """
    texts: dict[str, str] = {}
    named: list[str] = []
    for given in paths:
        if given == STDIN:
            texts["stdin"] = _decoded(sys.stdin.buffer.read(MAX_TOTAL_BYTES + 1), "stdin")
            named.append("stdin")
        elif Path(given).is_dir():
            _folder(Path(given), texts)
        else:
            texts[given] = _text(Path(given))
            named.append(given)
        if len(texts) > MAX_FILES or sum(map(len, texts.values())) > MAX_TOTAL_BYTES:
            raise InputError(
                f"more than {MAX_FILES} files, or {MAX_TOTAL_BYTES >> 20} MiB of them",
                where=given,
                hint="check one folder of manifests at a time",
            )
    return texts, named


def _folder(folder: Path, texts: dict[str, str]) -> None:
    files, charts = _walk(folder)
    if not files and not charts:
        raise NotFoundError(
            "no YAML or JSON file is there",
            where=str(folder),
            hint="give a folder of manifests",
        )
    for file in files:
        texts[str(file)] = _text(file)
    for chart in charts:
        filled = _filled_in(chart)
        if filled is not None:
            texts[f"{chart} (helm template)"] = filled


def _walk(folder: Path) -> tuple[list[Path], list[Path]]:
    """The YAML and JSON files below a folder, hidden ones and charts left out; and the charts."""
    files: list[Path] = []
    charts: list[Path] = []
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        if _CHART in names:
            charts.append(here)
            folders[:] = []
            continue
        folders[:] = sorted(
            n for n in folders if not n.startswith(".") and n not in _SKIPPED_FOLDERS
        )
        files += [
            here / name
            for name in sorted(names)
            if name.endswith(_SUFFIXES) and not name.startswith(".")
        ]
        if len(files) > MAX_FILES:
            break
    return files, charts


def _filled_in(chart: Path) -> str | None:
    """What a chart gives, with the values next to its folder; None, and a notice, without helm."""
    from deployctl.targets import helm  # with the renderer, which takes long to import

    own_values = chart.parent / "values.yaml"
    values = _text(own_values) if own_values.is_file() else ""
    try:
        return helm.template(chart, values, name="release-name", namespace="default")
    except DeployctlError as error:
        story(
            f"{chart} is a chart and is not checked: {error.message}; pipe helm template into "
            "deployctl check -",
            style="dim",
        )
        return None


def _text(file: Path) -> str:
    if not file.exists():
        raise NotFoundError("there is no such file", where=str(file), hint="check the path")
    try:
        with file.open("rb") as stream:
            content = stream.read(yamltext.MAX_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"cannot read it: {error.strerror}", where=str(file), hint="check the path"
        ) from error
    return _decoded(content, str(file))


def _decoded(content: bytes, where: str) -> str:
    limit = MAX_TOTAL_BYTES if where == "stdin" else yamltext.MAX_BYTES
    if len(content) > limit:
        raise InputError(
            f"the file is larger than {limit >> 20} MiB",
            where=where,
            hint="manifests are smaller than that; check the path",
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            "the file is not UTF-8 text", where=where, hint="check manifests only"
        ) from error
