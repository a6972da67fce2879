"""What an API server refuses, as our own errors."""

import json
import re

from deployctl.errors import ClusterError
from deployctl.targets import webhooks

_MANAGER = re.compile(r'conflicts? with "([^"]+)"')  # of a field, in what an apply is refused with


class UnreachableError(ClusterError):
    """The API server did not answer; it may do so in a moment."""


class ForbiddenError(ClusterError):
    """The user has no right to that."""


class ConflictError(ClusterError):
    """Somebody else changed the object, or made it, in the meantime; or owns fields of it, and
    `managers` are who."""

    managers: tuple[str, ...] = ()


class InvalidError(ClusterError):
    """The API server will not take such an object, or not in the place of the one that is there."""


def in_words(error: Exception) -> str:
    """What was wrong with a connection, in short."""
    reason = getattr(error, "reason", None) or error
    return str(reason).rpartition(": ")[2] or type(error).__name__


def translated(status: int, body: bytes, where: str) -> ClusterError:
    """The error that an answer of the API server is. `where`: what it was asked."""
    try:
        said = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        said = body.decode("utf-8", "replace").strip()[:200] or "no reason"
    if status == 409:
        conflict = ConflictError(said, where=where)
        conflict.managers = tuple(dict.fromkeys(_MANAGER.findall(said)))
        return conflict
    hint = webhooks.hint(said)
    if status in (500, 502, 503, 504, 429):
        what = "an admission webhook fails" if hint else "the API server is not ready"
        return UnreachableError(f"{what}: {said}", where=where, hint=hint)
    if status == 422:
        return InvalidError(f"the cluster refuses it: {said}", where=where)
    if status == 403:
        right = (
            "deployctl doctor --target kubernetes names each right that is missing, and its Role"
        )
        told = f"the cluster refuses (HTTP 403): {said}"
        return ForbiddenError(told, where=where, hint=hint or right)
    if status == 401:
        hint = "the kubeconfig's credential has expired, or is another cluster's"
    return ClusterError(f"the cluster refuses (HTTP {status}): {said}", where=where, hint=hint)
