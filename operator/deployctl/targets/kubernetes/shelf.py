"""The records of a target `kubernetes`, in its cluster: a Secret a revision, beside Helm's own.

So whoever has the namespace has the history, wherever they work. As many of it as Helm keeps: of a
new record, the oldest goes.
"""

import base64
import binascii
import gzip
import json
import re
import zlib
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from deployctl.errors import StateError, TargetError
from deployctl.render.bundle import Bundle
from deployctl.targets.history import too_old
from deployctl.targets.kubernetes.cluster import Cluster, Document
from deployctl.targets.kubernetes.front import front_of, port_of
from deployctl.targets.shelf import Stored, remove_folder

TYPE = "deployctl.io/release.v1"
SERVICE, REVISION, DAMAGED = "deployctl.io/service", "deployctl.io/revision", "deployctl.io/damaged"
STATUS, SUMMARY = "deployctl.io/status", "deployctl.io/summary"
KEYLESS = "deployctl.io/keyless"  # a label of the newest record, once the service's keys are gone
_MOST = 1_000_000  # bytes of a Secret that etcd takes
_KEY = "release"
_OURS = f"type={TYPE}"
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")


class Headline(NamedTuple):
    """What of a record is told by its metadata."""

    service: str
    revision: int
    status: str
    message: str
    model: str  # as it is served
    gpu: str
    front: str  # the Service that clients ask
    port: int  # of it


class ClusterShelf:
    """Secrets of the namespace with our labels."""

    def __init__(self, cluster: Cluster, state_dir: Path) -> None:
        self._cluster = cluster
        self._state_dir = state_dir

    def folder(self, service: str) -> Path:
        """The folder of a service on this machine: one for each cluster and namespace."""
        place = f"{self._cluster.context or 'in-cluster'}.{self._cluster.namespace}"
        return self._state_dir / "kubernetes" / _UNSAFE.sub("-", place) / service

    def services(self) -> list[str]:
        """Every service of the namespace that has a record."""
        found = self._cluster.metadata(self._path, labelSelector=SERVICE, fieldSelector=_OURS)
        return sorted({_labels(secret)[SERVICE] for secret in found})

    def others(self) -> list[str]:
        """None: whoever has the namespace has them all."""
        return []

    def headlines(self) -> list[Headline]:
        """Every record of the namespace in short, by service and revision, but damaged ones."""
        selector = f"{SERVICE},!{DAMAGED}"
        found = self._cluster.metadata(self._path, labelSelector=selector, fieldSelector=_OURS)
        return sorted(_headline(each["metadata"]) for each in found)

    def stored(self, service: str) -> list[Stored]:
        """The documents of a service, oldest first."""
        selector = f"{SERVICE}={service},!{DAMAGED}"
        secrets = self._cluster.items(self._path, labelSelector=selector, fieldSelector=_OURS)
        found = [
            Stored(int(_labels(secret)[REVISION]), self._where(secret), partial(_read, secret))
            for secret in secrets
        ]
        return sorted(found, key=lambda each: each.number)

    def write(self, service: str, number: int, content: bytes) -> None:
        """Writes one, whole or not at all; of a revision that begins, the records that are too old
        by then are removed.

        Raises:
            StateError: it is larger than a Secret may be.
            ClusterError: it cannot be written.
        """
        name = _name(service, number)
        packed = gzip.compress(content, mtime=0)
        if len(base64.b64encode(packed)) > _MOST:
            raise StateError("the record is larger than a Secret may be", where=name)
        document = json.loads(content)
        self._cluster.put_secret(
            name,
            {_KEY: packed},
            kind=TYPE,
            labels={SERVICE: service, REVISION: str(number), STATUS: document["status"]},
            annotations={SUMMARY: json.dumps(_summary(document))},
        )
        if document["status"] == "pending":
            with suppress(TargetError):  # the next revision tries again
                self._prune(service)

    def numbers(self, service: str) -> set[int]:
        """The revisions of a service that have a record."""
        return {int(_labels(secret)[REVISION]) for secret in self._metadata_of(service)}

    def bundle(self, service: str, number: int) -> Bundle | None:
        """What a revision was made from; None where no record says so."""
        secret = self._cluster.get(f"{self._path}/{_name(service, number)}")
        try:
            document = json.loads(_read(secret)) if secret else {}
            return Bundle.model_validate(document["bundle"])
        except (ValueError, KeyError, TypeError):
            return None

    def set_aside(self, service: str, number: int) -> str:
        """Marks a damaged one, so that the others can be worked with."""
        name = _name(service, number)
        self._cluster.patch(f"{self._path}/{name}", {"metadata": {"labels": {DAMAGED: "true"}}})
        return f"secret {name}, label {DAMAGED}"

    def mark_keyless(self, service: str) -> None:
        """Has the newest record say that the service's keys are gone, for those who have a copy."""
        if numbers := self.numbers(service):
            name = _name(service, max(numbers))
            self._cluster.patch(f"{self._path}/{name}", {"metadata": {"labels": {KEYLESS: "true"}}})

    def keyless_since(self, service: str) -> int | None:
        """The last revision that says so; None where there is none, or one served after it."""
        found = {int(_labels(each)[REVISION]): each for each in self._metadata_of(service)}
        last = max((number for number in found if KEYLESS in _labels(found[number])), default=None)
        if last is None or any(
            number > last and _status(found[number]) not in ("pending", "failed")
            for number in found
        ):
            return None
        return last

    def remove(self, service: str) -> None:
        """Removes every record of a service, and its folder here."""
        self._delete(self._metadata_of(service))
        remove_folder(self.folder(service))

    def has(self, service: str) -> bool:
        """Whether there is any."""
        return bool(self._metadata_of(service))

    def _prune(self, service: str) -> None:
        secrets = {int(_labels(each)[REVISION]): each for each in self._metadata_of(service)}
        old = too_old({number: _status(secret) for number, secret in secrets.items()})
        self._delete(secrets[number] for number in sorted(old, reverse=True))

    def _metadata_of(self, service: str) -> list[Document]:
        selector = f"{SERVICE}={service}"
        return self._cluster.metadata(self._path, labelSelector=selector, fieldSelector=_OURS)

    def _delete(self, secrets: Iterable[Document]) -> None:
        for secret in secrets:
            self._cluster.delete(f"{self._path}/{secret['metadata']['name']}")

    @property
    def _path(self) -> str:
        return self._cluster.path("v1", "secrets")

    def _where(self, secret: Document) -> str:
        return f"secret {secret['metadata']['name']} in namespace {self._cluster.namespace}"


def _status(secret: Document) -> str:
    """What became of a revision; a damaged record is no way back."""
    return "failed" if DAMAGED in _labels(secret) else _labels(secret).get(STATUS, "")


def _summary(document: Document) -> Document:
    """What `status` shows of a release, whose document it is."""
    plan = document["plan"]
    shown = {"model": plan["served_model_name"], "gpu": plan["gpu"]}
    bundle = Bundle.model_validate(document["bundle"])
    shown |= {"front": front_of(bundle), "message": document["message"]}
    return {**shown, "port": port_of(bundle, "service")}


def _headline(metadata: Document) -> Headline:
    labels = metadata["labels"]
    told = json.loads((metadata.get("annotations") or {}).get(SUMMARY, "{}"))
    return Headline(
        labels[SERVICE],
        int(labels[REVISION]),
        labels.get(STATUS, "unknown"),
        message=told.get("message", ""),
        model=told.get("model", ""),
        gpu=told.get("gpu", ""),
        front=told.get("front", labels[SERVICE]),
        port=told.get("port", 0),
    )


def _name(service: str, number: int) -> str:
    return f"deployctl.{service}.v{number}"


def _labels(secret: Document) -> dict[str, str]:
    labels: dict[str, str] = secret["metadata"]["labels"]
    return labels


def _read(secret: Document) -> bytes:
    """The document of a Secret.

    Raises:
        ValueError: it holds none.
    """
    try:
        return gzip.decompress(base64.b64decode(secret["data"][_KEY], validate=True))
    except (KeyError, binascii.Error, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"no release is in it: {error}") from error
