"""Who may come in: named keys, of which only hashes are kept, read again when their file changes.

A secrets folder holds `keys.json` (named keys with hash, expiry, models and limits), `api_key` (one
plain key, named "default") and `operator_token`. Each may be missing; without a key, all may come
in or the engine does not start, as the configuration says.
"""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

VERSION = 1
LARGEST = 4 << 20  # bytes of a key file
KEYS, API_KEY, OPERATOR_TOKEN = "keys.json", "api_key", "operator_token"
DEFAULT = "default"  # the name of the key in `api_key`
CHECK_S = 0.25  # how often the files are looked at: a revoked key works no longer than that
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_HASH = re.compile(r"[0-9a-f]{64}")


class KeysError(Exception):
    """The keys cannot be read, or are not of this version."""


@dataclass(frozen=True)
class Limits:
    """What one key may have of one engine process; None: no limit."""

    concurrent: int | None = None  # requests under way
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None  # prompt and answer together


@dataclass(frozen=True)
class Key:
    """One key, known by its hash."""

    name: str
    sha256: str  # of the key's UTF-8
    expires: float | None = None  # seconds since the epoch
    models: tuple[str, ...] | None = None  # models and adapters; None: all
    limits: Limits = Limits()


@dataclass(frozen=True)
class KeyRing:
    """All keys of one moment."""

    keys: tuple[Key, ...]
    operator: str | None  # hash of the operator's token
    open: bool = False  # there are no keys, and none are needed

    def find(self, presented: str, now: float) -> Key | None:
        """The key that was presented, if it has not expired. Takes as long for any key."""
        given = _hash(presented)
        match = None
        for key in self.keys:
            if hmac.compare_digest(given, key.sha256):
                match = key
        return None if match is None or (match.expires or now + 1) <= now else match

    def is_operator(self, presented: str) -> bool:
        """Whether it is the operator's token."""
        return hmac.compare_digest(_hash(presented), self.operator or "-" * 64)


class KeyFolder:
    """The key ring of a folder, as it is now.

    Where the files become unreadable, half-written or of a newer version, the keys that were good
    go on being so, and `complain` is told what is wrong, once.
    """

    def __init__(
        self,
        folder: Path,
        complain: Callable[[str], None],
        *,
        keyless: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._complain = complain
        self._keyless = keyless
        self._clock = clock
        self._told = ""
        self._seen = _marks(folder)
        self._ring = read(
            folder, keyless=keyless
        )  # raises: without keys that can be read there is no door
        self._checked = clock()

    def now(self) -> KeyRing:
        """The ring; its files are looked at again after CHECK_S."""
        if self._clock() - self._checked >= CHECK_S:
            self._checked = self._clock()
            marks = _marks(self._folder)
            if marks != self._seen:
                had = [name for name, mark in self._seen.items() if isinstance(mark, tuple)]
                try:
                    self._ring = read(self._folder, keyless=self._keyless, expected=had)
                except KeysError as error:  # tried again at every look, and told once
                    if str(error) != self._told:
                        self._told = str(error)
                        self._complain(f"{error}; the keys read before go on being valid")
                else:
                    self._seen, self._told = marks, ""
        return self._ring


def read(folder: Path, *, keyless: bool = False, expected: Collection[str] = ()) -> KeyRing:
    """Reads all keys of a folder. `expected` are files that were there before.

    Raises:
        KeysError: a file cannot be read, is damaged, or of a newer version; or there is no key
            and `keyless` does not allow that.
    """
    content = _content(folder / KEYS)
    keys, revoked = ((), frozenset()) if content is None else _parse(folder / KEYS, content)
    plain = _secret(folder / API_KEY)
    if plain is not None:
        keys = (Key(DEFAULT, _hash(plain)), *keys)
    keys = tuple(key for key in keys if key.name not in revoked)
    for name in expected:
        if not (folder / name).exists():
            raise KeysError(f"{folder / name}: is gone")
    names = [key.name for key in keys]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise KeysError(f"{folder}: two keys are named {twice[0]}")
    token = _secret(folder / OPERATOR_TOKEN)
    none = content is None and plain is None
    if none and not keyless:
        raise KeysError(f"{folder}: there is no key: neither {API_KEY} nor {KEYS}")
    return KeyRing(keys, None if token is None else _hash(token), open=none)


def _parse(path: Path, content: bytes) -> tuple[tuple[Key, ...], frozenset[str]]:
    try:
        document = json.loads(content)
        version = document["version"]
        if version != VERSION:
            raise KeysError(f"{path}: version {version}, and this door knows {VERSION}")
        revoked = frozenset(document.get("revoked", ()))
        return tuple(_key(entry) for entry in document["keys"]), revoked
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise KeysError(f"{path}: damaged: {error!r}") from error


def _key(entry: dict[str, Any]) -> Key:
    name, digest = entry["name"], entry["sha256"]
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ValueError("a key's name is letters, digits and ._-")
    if not (isinstance(digest, str) and _HASH.fullmatch(digest)):
        raise ValueError(f"{name}: sha256 is no hash")
    expires, models = entry.get("expires"), entry.get("models")
    if models is not None and not all(isinstance(model, str) for model in models):
        raise ValueError(f"{name}: models is no list of names")
    moment = None
    if expires is not None:
        when = datetime.fromisoformat(expires.replace("Z", "+00:00"))
        if when.tzinfo is None:
            raise ValueError(f"{name}: expires has no time zone")
        moment = when.timestamp()
    limits = Limits(**entry.get("limits") or {})
    for value in (limits.concurrent, limits.requests_per_minute, limits.tokens_per_minute):
        if value is not None and (
            not isinstance(value, int) or isinstance(value, bool) or value < 0
        ):
            raise ValueError(f"{name}: a limit is a whole number")
    return Key(name, digest, moment, None if models is None else tuple(models), limits)


def _content(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeysError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > LARGEST:
        raise KeysError(f"{path}: larger than {LARGEST} bytes")
    return content


def _secret(path: Path) -> str | None:
    content = _content(path)
    if content is None:
        return None
    try:
        text = content.decode().strip()
    except UnicodeDecodeError as error:
        raise KeysError(f"{path}: not text") from error
    if not text or not text.isprintable() or " " in text:
        raise KeysError(f"{path}: does not hold one secret")
    return text


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _marks(folder: Path) -> dict[str, Any]:
    """What changes when a file does, also when a mounted Secret is exchanged as a whole."""
    marks: dict[str, Any] = {}
    for name in (KEYS, API_KEY, OPERATOR_TOKEN):
        try:
            stat = (folder / name).stat()
        except OSError as error:
            marks[name] = error.errno
        else:
            marks[name] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return marks
