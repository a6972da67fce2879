"""A service's API key, in a file of its own (0600), and the Hub token: never in a record, a plan
or an argument.

`rollout.up` puts it in place before a driver starts the engine; drivers read it with
`read_key`, from the service's folder in the state directory.
"""

import secrets
from collections.abc import Mapping
from pathlib import Path

from deployctl.errors import SpecError, StateError, TargetError
from deployctl.files import make_folder, one_word, read_word, state_error, write_private
from deployctl.spec import ServiceSpec, TargetKind

KEY_VARIABLE = "DEPLOYCTL_API_KEY"
_MAKE_ONE = "make one with: openssl rand -hex 32"


def key_path(state_dir: Path, target: TargetKind, service: str) -> Path:
    """Where the API key of a service is kept."""
    return state_dir / target / service / "api_key"


def with_key_file(spec: ServiceSpec, path: Path, environment: Mapping[str, str]) -> ServiceSpec:
    """Says in the spec where the key is when it comes from the environment or is to be made."""
    if spec.api_key_file is None and (spec.expose or environment.get(KEY_VARIABLE)):
        return spec.model_copy(update={"api_key_file": path})
    return spec


def wanted_key(spec: ServiceSpec, path: Path, environment: Mapping[str, str]) -> str | None:
    """The key the user asks for: from the environment, from their file, or the one made before.

    Returns None when no key is needed, or when one is still to be made.

    Raises:
        SpecError: the key is unreadable, empty, or no single printable word.
    """
    if not spec.needs_api_key:
        return None
    if given := environment.get(KEY_VARIABLE):
        return one_word(given, what="API key", where=KEY_VARIABLE, hint=_MAKE_ONE)
    file = spec.api_key_file
    if file is None or file == path:
        return read_key(path)
    return read_word(file, what="API key", where=f"api_key_file: {file}", hint=_MAKE_ONE)


def place_key(path: Path, key: str | None) -> str:
    """Stores `key`, or one made now when it is None, and returns it.

    Raises:
        StateError: it cannot be written.
    """
    chosen = key or secrets.token_urlsafe(32)
    if read_key(path) != chosen:
        make_folder(path.parent)
        write_private(path, chosen.encode())
    return chosen


def read_key(path: Path) -> str | None:
    """Reads a stored key, or None where there is none.

    Raises:
        StateError: it is there and cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise StateError(
            "the stored API key is not text", where=str(path), hint=f"remove it: rm {path}"
        ) from error
    except OSError as error:
        raise state_error("read the API key", path, error) from error


def hub_token(spec: ServiceSpec, environment: Mapping[str, str]) -> str | None:
    """The Hub token that the engine gets: from the spec's file, else from the environment.

    Raises:
        TargetError: the file cannot be read, or holds no token.
    """
    file = spec.hf_token_file
    if file is None:
        return environment.get("HF_TOKEN", "").strip() or None
    where, hint = f"hf_token_file: {file}", "write the token alone into the file"
    try:
        return read_word(file, what="Hub token", where=where, hint=hint)
    except SpecError as error:  # it was right when the service was planned
        raise TargetError(error.message, where=error.where, hint=error.hint) from error
