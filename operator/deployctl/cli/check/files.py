"""What `deployctl check` reads: files, folders, standard input, and charts that helm fills in."""

import os
import sys
from pathlib import Path

from deployctl import boundedyaml
from deployctl.cli.console import story
from deployctl.errors import DeployctlError, InputError, NotFoundError
from deployctl.given import read_text

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
            texts["stdin"] = _stdin()
            named.append("stdin")
        elif os.path.isdir(given):  # noqa: PTH112 - no folder, where Path raises: a name too long
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
    hint = "manifests are UTF-8 text, and smaller than that; check the path"
    return read_text(file, boundedyaml.MAX_BYTES, hint=hint)


def _stdin() -> str:
    content = sys.stdin.buffer.read(MAX_TOTAL_BYTES + 1)
    if len(content) > MAX_TOTAL_BYTES:
        raise InputError(
            f"this is more than {MAX_TOTAL_BYTES >> 20} MiB",
            where="stdin",
            hint="manifests are smaller than that; check the path",
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            "this is not UTF-8 text", where="stdin", hint="check manifests only"
        ) from error
