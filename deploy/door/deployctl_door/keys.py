"""Who may come in: named keys, of which only hashes are kept.

A secrets folder holds `keys.json` (named keys with hash, expiry, models and limits), `api_key` (one
plain key, named "default") and `operator_token`. Each may be missing; without a key, all may come
in or the engine does not start, as the configuration says.
"""

import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from deployctl_door import files

VERSION = 1
LARGEST = 4 << 20  # bytes of a key file
KEYS, API_KEY, OPERATOR_TOKEN = "keys.json", "api_key", "operator_token"
FILES = (KEYS, API_KEY, OPERATOR_TOKEN)
DEFAULT = "default"  # the name of the key in `api_key`
ANYONE, OPERATOR = "anyone", "operator"  # by these names the door calls whoever has no named key
MOST_KNOWN, LONGEST_KNOWN = 1024, 512  # headers that are remembered, and bytes of one
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


NO_LIMITS = Limits()


@dataclass(frozen=True)
class Key:
    """One key, known by its hash."""

    name: str
    sha256: str  # of the key's UTF-8
    expires: float | None = None  # seconds since the epoch
    models: tuple[str, ...] | None = None  # models and adapters; None: all
    limits: Limits = NO_LIMITS
    operator: bool = False

    def has_expired(self, now: float) -> bool:
        """Whether it was valid until then at most; seconds since the epoch."""
        return self.expires is not None and self.expires <= now


@dataclass(frozen=True)
class KeyRing:
    """All keys of one moment."""

    keys: tuple[Key, ...]
    operator: str | None  # hash of the operator's token
    open: bool = False  # there are no keys, and none are needed
    # Headers that were found to show a key, so that it need not be hashed for each request. Whoever
    # guesses learns nothing from it: a dictionary compares what was sent only where its hash, keyed
    # anew for each process, is the same.
    known: dict[bytes, Key] = field(default_factory=dict, compare=False, repr=False)

    def remember(self, header: bytes, key: Key) -> None:
        """Keeps a header for as long as this ring is the one: until the files change."""
        if len(self.known) < MOST_KNOWN and len(header) <= LONGEST_KNOWN:
            self.known[header] = key

    def find(self, presented: str, now: float) -> Key | None:
        """The key that was presented, if it has not expired. Takes as long for any key.

        `presented` is a header's value: latin-1, as bytes of UTF-8 come in.
        """
        given = digest(presented.encode("latin-1", "replace"))
        match = None
        for key in self.keys:
            if hmac.compare_digest(given, key.sha256):
                match = key
        return None if match is None or match.has_expired(now) else match

    def is_operator(self, presented: str) -> bool:
        """Whether it is the operator's token."""
        given = digest(presented.encode("latin-1", "replace"))
        return hmac.compare_digest(given, self.operator or "-" * 64)


class Contents(NamedTuple):
    """What the files of a folder hold; None: there is no such file. Empty: nothing was read yet."""

    named: "tuple[tuple[Key, ...], frozenset[str]] | None" = None  # keys, and names revoked
    api_key: str | None = None  # a hash, as the token
    operator_token: str | None = None


def read(folder: Path, *, keyless: bool = False, processes: int = 1) -> KeyRing:
    """Reads all keys of a folder.

    Raises:
        KeysError: a file cannot be read, is damaged, or of a newer version; or there is no key
            and `keyless` does not allow that; or a key has limits and `processes` would each
            count alone.
    """
    contents = Contents(*(read_file(folder / name) for name in FILES))
    return ring(folder, contents, keyless=keyless, processes=processes)


def read_file(path: Path) -> Any:
    """What one of the files holds, for its field of `Contents`.

    Raises:
        KeysError: it cannot be read, is damaged, or of a newer version.
    """
    content = _content(path)
    if content is None:
        return None
    return _named(path, content) if path.name == KEYS else _secret(path, content)


def ring(folder: Path, contents: Contents, *, keyless: bool, processes: int) -> KeyRing:
    """The keys that the files hold together.

    Raises:
        KeysError: two have one name, there is none and one is needed, or one has limits that
            several processes would each count alone.
    """
    keys, revoked = contents.named or ((), frozenset())
    if contents.api_key:
        keys = (Key(DEFAULT, contents.api_key), *keys)
    keys = tuple(key for key in keys if key.name not in revoked)
    names = [key.name for key in keys]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise KeysError(f"{folder / KEYS}: two keys are named {twice[0]}")
    limited = [key.name for key in keys if key.limits != NO_LIMITS]
    if limited and processes > 1:
        raise KeysError(
            f"{folder / KEYS}: the key {limited[0]} has limits, and each of the engine's "
            f"{processes} API-server processes would count alone"
        )
    none = contents.named is None and contents.api_key is None
    if none and not keyless:
        raise KeysError(f"{folder}: there is no key: neither {API_KEY} nor {KEYS}")
    return KeyRing(keys, contents.operator_token, open=none)


def digest(secret: bytes) -> str:
    """What is kept of a secret, and compared."""
    return hashlib.sha256(secret).hexdigest()


def _named(path: Path, content: bytes) -> "tuple[tuple[Key, ...], frozenset[str]]":
    try:
        document = json.loads(content)
        version = document["version"]
        if version != VERSION:
            raise KeysError(f"{path}: version {str(version)[:20]}, and this door knows {VERSION}")
        revoked = document.get("revoked", [])
        if not (isinstance(revoked, list) and isinstance(document["keys"], list)):
            raise ValueError("keys or revoked is no list")
        return tuple(_key(entry) for entry in document["keys"]), frozenset(map(str, revoked))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        # Never with what the file holds: it may be a key, where a hash belongs.
        why = str(error)
        if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)):
            why = "not JSON"
        elif isinstance(error, KeyError):
            why = f"{error} is missing"
        raise KeysError(f"{path}: damaged: {why}") from error


def _key(entry: dict[str, Any]) -> Key:
    name, sha256 = entry["name"], entry["sha256"]
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ValueError("a key's name is letters, digits and ._-")
    if name in (ANYONE, OPERATOR):
        raise ValueError(f"{name} is a name that the door itself uses")
    if not (isinstance(sha256, str) and _HASH.fullmatch(sha256)):
        raise ValueError(f"{name}: sha256 is no hash")
    expires, models = entry.get("expires"), entry.get("models")
    if models is not None and not (
        isinstance(models, list) and all(isinstance(model, str) for model in models)
    ):
        raise ValueError(f"{name}: models is no list of names")
    moment = None
    if expires is not None:
        moment = _moment(name, expires)
    given = entry.get("limits")
    limits = Limits(**given) if given else NO_LIMITS
    for value in (limits.concurrent, limits.requests_per_minute, limits.tokens_per_minute):
        if value is not None and (type(value) is not int or value < 0):
            raise ValueError(f"{name}: a limit is a whole number")
    return Key(name, sha256, moment, None if models is None else tuple(models), limits)


def _moment(name: str, expires: Any) -> float:
    try:
        when = datetime.fromisoformat(expires.replace("Z", "+00:00"))
        if when.tzinfo is not None:
            return when.timestamp()
    except (ValueError, TypeError, AttributeError, OverflowError):
        pass
    raise ValueError(f"{name}: expires is no date and time with a time zone")


def _secret(path: Path, content: bytes) -> str:
    try:
        text = content.decode().strip()
    except UnicodeDecodeError as error:
        raise KeysError(f"{path}: not text") from error
    if not text or not text.isprintable() or " " in text:
        raise KeysError(f"{path}: does not hold one secret")
    return digest(text.encode())


def _content(path: Path) -> bytes | None:
    try:
        content = files.read(path, LARGEST)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeysError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > LARGEST:
        raise KeysError(f"{path}: larger than {LARGEST} bytes")
    return content
