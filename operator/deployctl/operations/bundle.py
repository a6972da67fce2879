"""A rendered folder on disk: what of it is ours, so that nothing of the user's is lost."""

import hashlib
import json
from pathlib import Path

from deployctl.errors import InputError, StateError
from deployctl.files import replace_text
from deployctl.render import Bundle

MARKER = ".deployctl.json"  # lists what was written, with digests
_VERSION = 1


def write(folder: Path, bundle: Bundle, beside: dict[str, str], *, force: bool) -> None:
    """Writes a bundle, and files for people beside it, to a folder.

    Files that an earlier render wrote and this one does not are removed; all others stay.

    Raises:
        InputError: the folder holds files that deployctl did not write, or that were changed
            since; `force` writes over them.
        StateError: it cannot be written.
    """
    files = {**bundle.files, **beside}
    try:
        before = known(folder)
        if not force:
            _refuse_foreign(folder, files, before)
        for path in sorted(set(before or {}) - set(files)):
            (folder / path).unlink(missing_ok=True)
        for path, text in files.items():
            mode = 0o755 if path.endswith(".sh") else 0o644
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
    try:
        record = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        files = {str(path): str(digest) for path, digest in record["files"].items()}
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return None
    inside = {p: d for p, d in files.items() if not Path(p).is_absolute() and ".." not in p}
    return inside if inside == files else None


def _refuse_foreign(folder: Path, files: dict[str, str], known: dict[str, str] | None) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError("this is a file, not a folder", where=str(folder), hint="choose another")
    if known is None:
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(
                "the folder holds files that deployctl did not render",
                where=str(folder),
                hint="choose an empty folder with -o, or write over them with --force",
            )
        return
    for path in {**known, **files}:
        file = folder / path
        if not file.is_file():
            continue
        found = _digest(file.read_text(encoding="utf-8", errors="replace"))
        if found not in (known.get(path), _digest(files.get(path, ""))):
            raise InputError(
                "the file was changed since it was rendered",
                where=str(file),
                hint="put the change into the spec, or write over it with --force",
            )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
