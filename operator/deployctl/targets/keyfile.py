"""`keys.json`: the named keys of a service, of which only hashes are kept. Pure, but for `read`.

The format is the door's (deploy/door/deployctl_door/keys.py): what is read here without an error,
the door reads too. Fields that are not known are kept as they are.
"""

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    model_validator,
)

from deployctl.errors import InputError, PlanRefusedError, StateError
from deployctl.files import state_error
from deployctl.planning.plan import ServingPlan
from deployctl.render.door import api_servers

VERSION = 1
LARGEST = 4 << 20  # bytes that the door reads
DEFAULT = "default"  # the key in the file `api_key`; here, only whether it is revoked
# Names under which the door counts requests that show no named key.
RESERVED = ("anyone", "operator")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_Limit = Annotated[StrictInt, Field(ge=0)] | None


def hash_of(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def _moment(text: str) -> str:
    """An expiry that Python 3.10, the oldest that a door runs on, reads too."""
    if not re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{3}(\d{3})?)?)?([+-]\d\d:\d\d|Z)", text
    ):
        raise ValueError("a time is written 2027-01-31T00:00:00+00:00")
    _time(text)
    return text


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError("a key's name is up to 63 letters, digits and ._-")
    if text in RESERVED:
        raise ValueError(f"the door counts those without a named key as {text}")
    return text


class KeyLimits(BaseModel):
    """What one key may have of one engine process; None: no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    concurrent: _Limit = None  # requests under way
    requests_per_minute: _Limit = None
    tokens_per_minute: _Limit = None  # prompt and answer together


class NamedKey(BaseModel):
    """One key, known by its hash."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: Annotated[str, AfterValidator(_name)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # of the key's UTF-8
    note: str = ""
    created: str | None = None  # ISO 8601
    expires: Annotated[str, AfterValidator(_moment)] | None = None  # ISO 8601
    models: tuple[str, ...] | None = None  # models and adapters; None: all
    limits: KeyLimits | None = None

    def expired(self, now: datetime) -> bool:
        """Whether it is over."""
        return self.expires is not None and _time(self.expires) <= now.astimezone(UTC)


class KeyFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="allow")

    version: int
    keys: tuple[NamedKey, ...]
    revoked: tuple[str, ...] = ()  # names that open nothing, wherever their key is
    former: tuple[str, ...] = ()  # hashes of keys named default that were revoked; for us alone

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [key.name for key in self.keys]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two keys are named {twice[0]}")
        return self

    def find(self, name: str) -> NamedKey | None:
        """The key of that name."""
        return next((key for key in self.keys if key.name == name), None)

    def owner(self, sha256: str) -> str | None:
        """The name of the key with that hash."""
        return next((key.name for key in self.keys if key.sha256 == sha256), None)

    def with_key(self, key: NamedKey) -> "KeyFile":
        """The same with one more key, which is not revoked."""
        return self._with(keys=(*self.keys, key)).lifted(key.name)

    def without(self, name: str) -> "KeyFile":
        """The same without the key of that name."""
        return self._with(keys=tuple(key for key in self.keys if key.name != name))

    def revoking_default(self, key: str | None) -> "KeyFile":
        """The same where `default`, whose key is kept elsewhere, opens nothing; its key, where it
        is known, will not be taken again."""
        if DEFAULT in self.revoked:
            return self
        more = {} if key is None else {"former": (*self.former, hash_of(key))}
        return self._with(revoked=(*self.revoked, DEFAULT), **more)

    def lifted(self, name: str) -> "KeyFile":
        """The same where a name may open again."""
        if name not in self.revoked:
            return self
        return self._with(revoked=tuple(other for other in self.revoked if other != name))

    def _with(self, **changed: Any) -> "KeyFile":
        return self.model_copy(update=changed)

    def content(self) -> bytes:
        """The file's bytes."""
        document = self.model_dump(mode="json", exclude_unset=True)
        return (json.dumps(document, indent=1) + "\n").encode()


EMPTY = KeyFile(version=VERSION, keys=())


def read(path: Path) -> KeyFile | None:
    """Reads the file; None where there is none.

    Raises:
        StateError: it cannot be read, is damaged, or of a newer version.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe, say
            raise InputError("this is not a plain file", where=str(path), hint="check the path")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise state_error("read the keys", path, error) from error
    return parse(content, path)


def parse(content: bytes, path: Path) -> KeyFile:
    """The keys in the bytes of a file. `path` is for the error.

    Raises:
        StateError: they are damaged, too many, or of a newer version.
    """
    if len(content) > LARGEST:
        raise _damaged(f"are larger than {LARGEST >> 20} MiB, more than a door reads", path)
    try:
        document = json.loads(content)
        if not isinstance(document, dict) or not {"version", "keys"} <= document.keys():
            raise ValueError("there is no version, or no list of keys")
        version = document["version"]
        if isinstance(version, int) and version > VERSION:
            raise StateError(
                f"the keys were written by a newer deployctl (format {version})",
                where=str(path),
                hint="use that version of deployctl, or a newer one",
            )
        if version != VERSION:
            raise ValueError(f"version {version!r} is not {VERSION}")
        keys = KeyFile.model_validate(document)
        keys.content()  # what is too deep to be written again is refused before it is changed
        return keys
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = "/".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        raise _damaged(f"are damaged: {where + ': ' if where else ''}{said}", path) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(f"are damaged: {error}", path) from error


def _damaged(what: str, path: Path) -> StateError:
    return StateError(
        f"the keys {what}",
        where=str(path),
        hint="an engine that runs goes on with the keys it has; put a good copy in its place, or "
        f"begin anew: mv {path} {path}.damaged, then deployctl keys add",
    )


def refuse_limits(plan: ServingPlan, where: str) -> None:
    """Refuses limits where they would be counted by several API-server processes, each alone.

    Raises:
        PlanRefusedError: the plan has more than one.
    """
    count = api_servers(plan.engine.args)
    if count > 1:
        raise PlanRefusedError(
            f"{count} API-server processes would each count a key's requests for themselves",
            where=where,
            hint="leave the limits out, or serve with one (without the engine argument "
            "api_server_count)",
        )


def refuse_limited(path: Path, plan: ServingPlan) -> None:
    """As `refuse_limits`, for the keys that a service has already. `path` is their file.

    Raises:
        PlanRefusedError: a key has limits, and the plan has several API-server processes.
    """
    try:
        file = read(path)
    except StateError:
        return  # the door says so, and does not open
    limited = [key.name for key in file.keys if key.limits is not None] if file else []
    if limited:
        refuse_limits(plan, f"key {limited[0]}")
