"""As whom a cluster is asked: on requests, on streams and by Helm alike."""

from collections.abc import Sequence

Pairs = Sequence[tuple[str, str]]


def pairs(user: str | None, groups: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The headers that have the API server act as another user, a group each its own."""
    if not user:
        return ()
    return (("Impersonate-User", user), *(("Impersonate-Group", group) for group in groups))


def flags(user: str | None, groups: Sequence[str]) -> list[str]:
    """The same for Helm."""
    words = ["--kube-as-user", user] if user else []
    for group in groups:
        words += ["--kube-as-group", group]
    return words
