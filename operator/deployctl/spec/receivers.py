"""Who is told of an alert: receivers, as a file describes them, by Alertmanager's own names.

Secrets are files: a receiver has the path alone. Which release of Alertmanager reads which file
(its CHANGELOG.md): Slack's address 0.22, keys of PagerDuty and the password of mail 0.25, a
webhook's address 0.26, and without a crash 0.28.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from deployctl.errors import SpecError, did_you_mean
from deployctl.given import expanded
from deployctl.spec.load import complaint, read_documents
from deployctl.spec.service import NAME_PATTERN

NOBODY = "nobody"  # the receiver that tells nobody
MOST = 50


def _no_address(value: object) -> object:
    if isinstance(value, str) and "://" in value:
        raise ValueError("an address")
    return value


SecretFile = Annotated[Path, BeforeValidator(_no_address)]
Severity = Literal["critical", "warning"]
# By what Alertmanager calls a secret: the file to give instead.
_FILES = {
    "url": "url_file",
    "api_url": "api_url_file",
    "routing_key": "routing_key_file",
    "service_key": "service_key_file",
    "auth_password": "auth_password_file",
}


class AlertReceiver(BaseModel):
    """Somebody who is told."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str = Field(pattern=NAME_PATTERN)
    severity: Severity | None = None  # none: of all alerts
    send_resolved: bool = True  # told, too, when it is over

    @property
    def secrets(self) -> dict[str, Path]:
        """The files of its secrets, by the field that names them."""
        files = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: path for name, path in files if isinstance(path, Path)}


class WebhookReceiver(AlertReceiver):
    """Any HTTP server that takes Alertmanager's JSON."""

    kind: Literal["webhook"]
    url_file: SecretFile


class SlackReceiver(AlertReceiver):
    """A channel of Slack, by an incoming webhook."""

    kind: Literal["slack"]
    api_url_file: SecretFile
    channel: str | None = None  # none: the webhook's own


class PagerDutyReceiver(AlertReceiver):
    """A service of PagerDuty: by the key of its Events API v2, or of a Prometheus integration."""

    kind: Literal["pagerduty"]
    routing_key_file: SecretFile | None = None
    service_key_file: SecretFile | None = None

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if (self.routing_key_file is None) == (self.service_key_file is None):
            raise ValueError("one of routing_key_file and service_key_file is needed")
        return self


class MailReceiver(AlertReceiver):
    """An address, through a mail server."""

    kind: Literal["mail"]
    to: str = Field(pattern=r"^[^\s@]+@[^\s@]+$")
    sender: str = Field(alias="from", pattern=r"^[^\s@]+@[^\s@]+$")
    smarthost: str = Field(pattern=r"^[A-Za-z0-9.:\[\]-]+:\d{1,5}$")  # HOST:PORT
    auth_username: str | None = None
    auth_password_file: SecretFile | None = None
    require_tls: bool = True

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.auth_username is None) != (self.auth_password_file is None):
            raise ValueError("auth_username and auth_password_file go together")
        return self


AnyReceiver = Annotated[
    WebhookReceiver | SlackReceiver | PagerDutyReceiver | MailReceiver,
    Field(discriminator="kind"),
]
Receivers = tuple[AnyReceiver, ...]


class ReceiversFile(BaseModel):
    """A file of receivers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    receivers: Receivers = Field(max_length=MOST)

    @model_validator(mode="after")
    def _names_apart(self) -> Self:
        names = [receiver.name for receiver in self.receivers]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two receivers have the name {twice!r}")
        if NOBODY in names:
            raise ValueError(f"{NOBODY!r} is who is told where there is no receiver: another name")
        return self


def load_receivers(file: Path) -> Receivers:
    """Reads receivers; paths that are not absolute are from the file's own folder.

    Raises:
        SpecError: the file cannot be read, or something in it is wrong; `where` says what.
    """
    documents = read_documents(file)
    if len(documents) > 1:
        raise SpecError(
            f"{len(documents)} documents where one was expected",
            where=str(file),
            hint="list all receivers in one: receivers: [{name: …, kind: slack, …}]",
        )
    try:
        found = ReceiversFile.model_validate(documents[0])
    except ValidationError as error:
        # A secret that is written out lacks its file, too: that it is one is what matters.
        problems = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        raise _wrong(file, problems[0]) from error
    folder = file.absolute().parent
    return tuple(_with_paths(receiver, folder) for receiver in found.receivers)


def _with_paths(receiver: AnyReceiver, folder: Path) -> AnyReceiver:
    paths = {name: folder / expanded(path) for name, path in receiver.secrets.items()}
    return receiver.model_copy(update=paths)


def _wrong(file: Path, problem: Any) -> SpecError:
    kinds = ("webhook", "slack", "pagerduty", "mail")
    loc: Sequence[str | int] = problem["loc"]
    # A union's own name for the kind that was chosen is no part of the path.
    path = [part for at, part in enumerate(loc) if not (at == 2 and part in kinds)]
    last = str(path[-1]) if path else ""
    hint = "name, kind (webhook, slack, pagerduty or mail) and what that needs: see the guide"
    # An address in the place of a receiver, or of all, is a secret.
    message = complaint(problem if len(path) > 2 else {**problem, "input": None})
    if last in _FILES.values() and problem["type"] != "missing":
        message = (
            "the path of a file is wanted, which holds the secret"  # what was given is not shown
        )
        hint = f"write {last}: PATH"
    elif last == "smarthost" and problem["type"] == "string_pattern_mismatch":
        message = "HOST:PORT is wanted"  # what was given may have a password
        hint = "write smarthost: HOST:PORT, with auth_username and auth_password_file"
    elif problem["type"] == "extra_forbidden":
        if last in _FILES:
            message = "a secret is not written here"
            hint = f"put it into a file, and write {_FILES[last]}: PATH"
        else:
            known = {name for kind in _MODELS for name in kind.model_fields} | {"from"}
            hint = did_you_mean(last, known) or hint
    elif problem["type"].startswith("union_tag"):
        message = f"a receiver is one of {', '.join(kinds)}"
        path.append("kind")
    where = "/".join(str(part) for part in path)
    return SpecError(message, where=f"{file}: {where}" if where else str(file), hint=hint)


_MODELS = (WebhookReceiver, SlackReceiver, PagerDutyReceiver, MailReceiver)
