"""The Hub's cache of this machine, by huggingface_hub: it alone knows what revisions share."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from deployctl.errors import StateError
from deployctl.operations.clean.decide import DiskPiece
from deployctl.targets.brought import Brought

if TYPE_CHECKING:
    from huggingface_hub import HFCacheInfo


def pieces(brought: Collection[Brought]) -> list[DiskPiece]:
    """Every revision of a model that is there.

    Raises:
        StateError: the cache cannot be read.
    """
    scanned = _scan()
    return [
        DiskPiece(
            "model",
            f"{repository.repo_id} at {revision.commit_hash[:12]}",
            revision.commit_hash,
            revision.size_on_disk,
            ("model", f"{repository.repo_id}@{revision.commit_hash}") in brought,
            of=repository.repo_id,
            came=revision.last_modified,
        )
        for repository in (scanned.repos if scanned else ())
        if repository.repo_type == "model"
        for revision in repository.revisions
    ]


def freed(commits: Iterable[str]) -> int:
    """Bytes that would be free without these revisions: files that others share stay."""
    scanned = _scan()
    return scanned.delete_revisions(*commits).expected_freed_size if scanned else 0


def remove(commits: Iterable[str]) -> None:
    """Removes revisions.

    Raises:
        StateError: they cannot be removed.
    """
    scanned = _scan()
    if scanned is None:
        return
    strategy = scanned.delete_revisions(*commits)
    try:
        strategy.execute()
    except OSError as error:
        raise _unreadable("remove from", error) from error


def _scan() -> "HFCacheInfo | None":
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return scan_cache_dir()
    except CacheNotFound:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable("read", error) from error


def _unreadable(doing: str, error: Exception) -> StateError:
    from huggingface_hub import constants

    return StateError(
        f"cannot {doing} the Hub's cache: {error}",
        where=constants.HF_HUB_CACHE,
        hint="check its owner; HF_HOME says where it is",
    )
