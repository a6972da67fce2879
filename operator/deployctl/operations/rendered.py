"""A rendered folder on this disk: what of it is ours, so that nothing of the user's is lost.

The folder may come from a stranger's repository: its marker is believed only about names that a
render gives, and no link inside it is followed.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from stat import S_IMODE

from deployctl import given
from deployctl.errors import InputError, NotFoundError, StateError
from deployctl.files import replace_text
from deployctl.render.bundle import Bundle

MARKER = ".deployctl.json"  # lists what was written, with digests
_VERSION = 1
_MAX_MARKER = 1024 * 1024
_MAX_FILE = 16 * 1024 * 1024  # no rendered file is that large
# The paths that a bundle may have; those of plain manifests are those of the chart's templates.
_OURS = re.compile(
    r"(compose|kustomization|values)\.yaml|run\.sh|(command|gateway)\.json|README\.md"
    r"|secrets/\.gitignore|(alertmanager|chart|door|gateway|grafana|prometheus)(/[A-Za-z0-9_.-]+)+"
    r"|(download|engine|monitoring|router|tests)/[a-z0-9_-]+\.yaml"
)


def write(
    folder: Path,
    bundle: Bundle,
    readme: Mapping[str, str],
    *,
    force: bool,
    root: Path | None = None,
) -> None:
    """Writes a bundle, and the file for people that goes with it, to a folder; as `write_files`."""
    write_files(folder, {**bundle.files, **readme}, force=force, root=root)


def write_files(
    folder: Path, files: Mapping[str, str], *, force: bool, root: Path | None = None
) -> None:
    """Writes rendered files, by their paths, to a folder.

    Files that an earlier render wrote and this one does not are removed; all others stay, and what
    is there already is not written again. `root`:
    the folder that the user named, where this one is below it.

    Raises:
        InputError: the folder holds files that deployctl did not write, or that were changed
            since (`force` writes over them), or a link is where something is to be written.
        StateError: it cannot be written.
    """
    try:
        _refuse_links(root or folder, folder)
        before = known(folder)
        for path in {*(before or {}), *files, MARKER}:
            _refuse_links(folder, folder / path)
        there = {} if force else _refuse_foreign(folder, files, before)
        for path in sorted(set(before or {}) - set(files)):
            (folder / path).unlink(missing_ok=True)
        for path, text in files.items():
            mode = 0o755 if path.endswith(".sh") else 0o644
            if there.get(path) != text or S_IMODE((folder / path).stat().st_mode) != mode:
                replace_text(folder / path, text, mode=mode)
        record = {"version": _VERSION, "files": {p: _digest(t) for p, t in sorted(files.items())}}
        replace_text(folder / MARKER, json.dumps(record, indent=1) + "\n", mode=0o644)
    except OSError as error:
        raise StateError(
            f"cannot write: {error.strerror}",
            where=str(error.filename or folder),
            hint="check the disk and the folder's permissions, or choose another with -o",
        ) from error


def known(folder: Path) -> dict[str, str] | None:
    """What an earlier render wrote there, with digests; None when it is no folder of ours."""
    marker = folder / MARKER
    if not marker.is_file() or marker.is_symlink():
        return None
    try:
        record = given.parse_json(given.read_bytes(marker, _MAX_MARKER))
        files = {str(path): str(digest) for path, digest in record["files"].items()}
    except (InputError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return files if all(map(_is_ours, files)) else None


def read(folder: Path, path: str) -> str | None:
    """A rendered file; None where there is no plain file, or the way to it leads over a link.

    Raises:
        InputError: it cannot be read, or is too large to be one.
    """
    file = folder / path
    if _link(folder, file) is not None or not file.is_file():
        return None
    hint = "no rendered file is like that: check the folder"
    return given.read_bytes(file, _MAX_FILE, hint=hint).decode("utf-8", "replace")


def _is_ours(path: str) -> bool:
    return _OURS.fullmatch(path) is not None and ".." not in PurePosixPath(path).parts


def _link(folder: Path, place: Path) -> Path | None:
    """The first link on the way from a folder to a place below it; the folder itself may be one."""
    parts = place.relative_to(folder).parts
    steps = (folder.joinpath(*parts[: n + 1]) for n in range(len(parts)))
    return next((step for step in steps if step.is_symlink()), None)


def _refuse_links(folder: Path, place: Path) -> None:
    if link := _link(folder, place):
        raise InputError(
            "this is a link, which is not followed",
            where=str(link),
            hint="remove it, or choose another folder with -o",
        )


def _refuse_foreign(
    folder: Path, files: Mapping[str, str], known: Mapping[str, str] | None
) -> dict[str, str]:
    """Raises as `write_files`; returns what is there of an earlier render."""
    if folder.exists() and not folder.is_dir():
        raise InputError("this is a file, not a folder", where=str(folder), hint="choose another")
    if known is None:
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(
                "the folder holds files that deployctl did not render",
                where=str(folder),
                hint="choose an empty folder with -o, or write over them with --force",
            )
        return {}
    there = {}
    for path in {**known, **files}:
        try:
            text = read(folder, path)
        except NotFoundError:
            continue
        digests = (known.get(path), _digest(files.get(path, "")))
        if text is not None and _digest(text) not in digests:
            raise InputError(
                "the file was changed since it was rendered",
                where=str(folder / path),
                hint="put the change into the spec, or write over it with --force",
            )
        if text is not None:
            there[path] = text
    return there


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
