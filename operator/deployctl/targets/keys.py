"""What lets clients and us in, and the Hub token: each in a file of its own (0600), never in a
record, a plan or an argument.

In a service's folder of the state folder are `api_key`, the key named default, which
`rollout.up` puts in place before a driver starts the engine; `keys.json`, the named keys of
`deployctl keys`; and `operator_token`, with which deployctl itself asks. A driver publishes
them to the door before its engine, in a folder of their own. Whoever changes or publishes them
holds their lock.
"""

import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from deployctl.errors import SpecError, StateError, TargetError
from deployctl.files import make_folder, state_error, write_private
from deployctl.given import one_word, read_word
from deployctl.spec import ServiceSpec
from deployctl.targets import lockfile
from deployctl.targets.lockfile import Patience

KEY_VARIABLE = "DEPLOYCTL_API_KEY"
# The names by which the door knows them (deploy/door/deployctl_door/keys.py).
API_KEY, KEYS, OPERATOR_TOKEN = "api_key", "keys.json", "operator_token"
NO_KEYS = b'{"version": 1, "keys": []}\n'  # a keys.json with none
PATIENCE_S = 20.0  # for the lock: it is held while files are written, on a far engine for seconds
# Until a door that runs has looked at its keys again: twice the CHECK_S of its keyfolder.py.
SEEN_S = 0.5
_MAKE_ONE = "make one with: openssl rand -hex 32"
_OWN = 3  # last parts of the path of a key in a state folder: TARGET/SERVICE/api_key


def with_key_file(spec: ServiceSpec, path: Path, environment: Mapping[str, str]) -> ServiceSpec:
    """Says in the spec where the key is when it comes from the environment or is to be made."""
    others = spec.expose or spec.target == "kubernetes"  # every pod of a cluster reaches it
    if spec.api_key_file is None and (others or environment.get(KEY_VARIABLE)):
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
    own = read_key(path)
    if file is None or file == path:
        return own
    if file.parts[-_OWN:] == path.parts[-_OWN:] and (own or not os.access(file, os.R_OK)):
        return own  # another state folder recorded where it had its own
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


def needed_key(folder: Path) -> str:
    """The API key of a service that needs one. `folder` is the service's.

    Raises:
        StateError: it cannot be read, or is gone.
    """
    path = folder / API_KEY
    key = read_key(path)
    if key is None:
        raise StateError(
            "the service's API key is gone", where=str(path), hint="deployctl up makes one"
        )
    return key


def locked(
    folder: Path,
    *,
    file: str = "keys.lock",
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> AbstractContextManager[None]:
    """Holds the secrets of a service, whose folder it is: of two that change or publish them, one
    waits for the other. Not to be taken twice: `Driver.publish_keys` takes it by itself.

    Raises:
        LockedError: somebody else has held it for PATIENCE_S.
        StateError: the lock file cannot be made.
    """
    what = f"the keys of {folder.name} are"
    waits = Patience(PATIENCE_S, clock=clock, sleep=sleep)
    return lockfile.held(folder / file, what, waits)


def operator_token(folder: Path) -> str:
    """The token of a service's operator, made where there is none. `folder` is the service's.

    Raises:
        StateError: it cannot be read or written.
    """
    path = folder / OPERATOR_TOKEN
    token = read_key(path)
    if token is None:
        token = secrets.token_urlsafe(32)
        make_folder(folder)
        write_private(path, token.encode())
    return token


def of_the_door(folder: Path, spec: ServiceSpec) -> dict[str, bytes]:
    """What the door before a service's engine reads, by file name. `folder` is the service's.

    keys.json is the last: a new default key is there before its name is no longer revoked.

    Raises:
        StateError: one of them cannot be read, or the key that the service needs is gone.
    """
    found = {OPERATOR_TOKEN: operator_token(folder).encode()}
    if spec.needs_api_key:
        found[API_KEY] = needed_key(folder).encode()
    named = _named(folder)
    if named is not None:
        found[KEYS] = named
    return found


def gone(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """What a door that runs is told in place of a file that it has and `files` do not.

    Of one that goes missing it takes it that somebody lost it, and lets in who could come in
    before. So where we have no named keys any more, it is told that there are none.
    """
    return {} if KEYS in files else {KEYS: NO_KEYS}


def with_gone(folder: Path, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files for a door that runs and reads `folder`."""
    told = {name: content for name, content in gone(files).items() if (folder / name).exists()}
    return {**files, **told}


def _named(folder: Path) -> bytes | None:
    try:
        return (folder / KEYS).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise state_error("read the keys", folder / KEYS, error) from error


def lend(owner: Path, borrower: Path) -> None:
    """Gives a service the named keys of another, as they are now. Both are services' folders.

    Raises:
        StateError: they cannot be read or written.
    """
    with locked(owner):
        named = _named(owner)
    if named is not None:
        make_folder(borrower)
        write_private(borrower / KEYS, named)


def forget(folder: Path) -> None:
    """Removes all secrets of a service, whose folder it is.

    Raises:
        StateError: one of them cannot be removed.
    """
    with locked(folder):
        for name in (API_KEY, KEYS, OPERATOR_TOKEN):
            try:
                (folder / name).unlink(missing_ok=True)
            except OSError as error:
                raise state_error("remove", folder / name, error) from error


def publish(folder: Path, files: Mapping[str, bytes], *, mode: int) -> None:
    """Puts files where an engine reads them, each whole or not at all, and takes others away.

    `mode` is that of the files; whoever may read them may enter the folder. A file that stays
    the same is not touched.

    Raises:
        StateError: the disk is full or not writable.
    """
    make_folder(folder)
    try:
        folder.chmod(0o755 if mode & 0o044 else 0o700)
        for name, content in files.items():
            path = folder / name
            if not path.is_file() or path.read_bytes() != content:
                write_private(path, content, mode=mode)
        for path in folder.iterdir():
            if path.name not in files and not path.name.startswith("."):
                path.unlink()
    except OSError as error:
        raise state_error("write the secrets", folder, error) from error


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
