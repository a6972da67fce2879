"""Where the data folders (`deploy`, `docker`, `charts`) are: in a wheel or in a checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_ROOTS = (_PACKAGE / "_assets", _PACKAGE.parent.parent)


def path(*parts: str) -> Path:
    """Returns the path of a shipped data file or folder, e.g. `path("deploy", "profiles")`.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    for root in _ROOTS:
        candidate = root.joinpath(*parts)
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"deployctl's data file {'/'.join(parts)} is not installed")
