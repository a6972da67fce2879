"""What may be said of a new key: its name, what it may do, and until when."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from deployctl.errors import InputError
from deployctl.given import read_word
from deployctl.spec.option import option
from deployctl.targets import keyfile
from deployctl.targets.keyfile import KeyLimits, NamedKey

_STEPS = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


class KeyRequest(BaseModel):
    """What a new key may do, and until when."""

    model_config = ConfigDict(frozen=True)

    note: str = option("", "What the key is for: who has it, say.", metavar="TEXT", max_length=200)
    expires: str | None = option(
        None,
        "When it ends: 30d or 12h from now, 2027-01-31 (as that day begins, UTC), or a time with "
        "its zone, 2027-01-31T18:00+01:00. [default: never]",
        metavar="TIME",
        show_default=False,
    )
    model: list[str] | None = option(
        None,
        "Model or adapter that it may ask. Repeatable. [default: all]",
        metavar="NAME",
        show_default=False,
    )
    concurrent: int | None = option(
        None, "Requests under way at most.", "Limits of one engine process", metavar="N", ge=1
    )
    requests_per_minute: int | None = option(
        None, "Requests a minute at most.", "Limits of one engine process", metavar="N", ge=1
    )
    tokens_per_minute: int | None = option(
        None,
        "Tokens a minute at most, of prompts and answers.",
        "Limits of one engine process",
        metavar="N",
        ge=1,
    )
    key_file: Path | None = option(
        None,
        "File with the key. [default: one is made, and shown once]",
        metavar="FILE",
        show_default=False,
    )

    def limits(self) -> KeyLimits | None:
        """Its limits; None where it has none."""
        given = {name: getattr(self, name) for name in KeyLimits.model_fields}
        limits = {name: value for name, value in given.items() if value is not None}
        return KeyLimits(**limits) if limits else None

    def key(self) -> str | None:
        """The key in its file; None where one is to be made.

        Raises:
            SpecError: the file cannot be read, or does not hold one word.
        """
        file = self.key_file
        if file is None:
            return None
        hint = "make one with: openssl rand -hex 32"
        return read_word(file, what="key", where=f"--key-file {file}", hint=hint)

    def entry(self, name: str, key: str, now: datetime) -> NamedKey:
        """What is kept of `key`.

        Raises:
            InputError: the note or the expiry is wrong.
        """
        if not self.note.isprintable():
            raise InputError("a note is one line of text", where="--note")
        optional = {
            "note": self.note or None,
            "expires": None if self.expires is None else _expires(self.expires, now),
            "models": tuple(self.model) if self.model else None,
            "limits": self.limits(),
        }
        given = {field: value for field, value in optional.items() if value is not None}
        created = now.isoformat(timespec="seconds")
        return NamedKey(name=name, sha256=keyfile.hash_of(key), created=created, **given)


def check_name(name: str) -> None:
    """Raises InputError where a key cannot have that name."""
    if not keyfile.NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is no name of a key: that is up to 63 letters, digits and ._-, and begins "
            "with a letter or digit",
            where="NAME",
            hint="for example alice, or batch-jobs",
        )
    if name in keyfile.RESERVED:
        raise InputError(
            f"requests without a named key are counted as {name!r}",
            where="NAME",
            hint="choose another name",
        )


def _expires(text: str, now: datetime) -> str:
    """The moment that was given, in UTC.

    Raises:
        InputError: it is none, has no time zone, or has passed.
    """
    try:
        if step := re.fullmatch(r"(\d+)([mhdw])", text):
            moment = now + int(step[1]) * _STEPS[step[2]]
        elif re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        else:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                raise ValueError("no time zone")
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{text!r} is no time to expire at",
            where="--expires",
            hint="write 30d, 12h, 2027-01-31, or a time with its zone: 2027-01-31T18:00+01:00",
        ) from error
    if moment <= now:
        raise InputError(f"{text} has passed already", where="--expires")
    return moment.isoformat(timespec="seconds")
