"""The Hub's cache of this machine, by huggingface_hub: it alone knows what revisions share."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from deployctl.errors import StateError
from deployctl.operations.clean.decide import DiskPiece
from deployctl.targets.brought import Brought

if TYPE_CHECKING:
    from huggingface_hub import CachedRepoInfo, CachedRevisionInfo, HFCacheInfo


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
            Brought("model", f"{repository.repo_id}@{revision.commit_hash}") in brought,
            of=repository.repo_id,
            came=revision.last_modified,
            in_use="" if _is_inside(repository, revision) else "what it links to outside the cache",
        )
        for repository in (_models(scanned) if scanned else ())
        for revision in repository.revisions
    ]


def freed(models: Iterable[DiskPiece]) -> int:
    """Bytes that would be free without these revisions: files that others share stay."""
    scanned = _scan()
    each = _by_repository(scanned, models) if scanned else ()
    return sum(own.delete_revisions(*commits).expected_freed_size for own, commits in each)


def remove(models: Iterable[DiskPiece]) -> None:
    """Removes revisions.

    Raises:
        StateError: they cannot be removed.
    """
    models, scanned = list(models), _scan()
    try:
        for own, commits in _by_repository(scanned, models) if scanned else ():
            own.delete_revisions(*commits).execute()
    except OSError as error:
        raise _unreadable("remove from", error) from error
    left = _scan()  # what it may not remove, it only warns of
    for _, commits in _by_repository(left, models) if left else ():
        raise _unreadable("remove from", PermissionError(f"{', '.join(commits)} is still there"))


def _models(scanned: "HFCacheInfo") -> "Iterator[CachedRepoInfo]":
    return (each for each in scanned.repos if each.repo_type == "model")


def _by_repository(
    scanned: "HFCacheInfo", models: Iterable[DiskPiece]
) -> "Iterator[tuple[HFCacheInfo, list[str]]]":
    """The cache with each repository alone, and which of its revisions are among these: one that
    was renamed or copied has the commits of another."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for piece in models:
        wanted[piece.of].add(piece.place)
    for repository in _models(scanned):
        there = {revision.commit_hash for revision in repository.revisions}
        if commits := sorted(wanted[repository.repo_id] & there):
            yield replace(scanned, repos=frozenset({repository})), commits


def _is_inside(repository: "CachedRepoInfo", revision: "CachedRevisionInfo") -> bool:
    """Whether all of a revision is in the repository's folder: of a link out of it, what it leads
    to would be removed."""
    own = not repository.repo_path.is_symlink()
    return own and all(
        file.blob_path.is_relative_to(repository.repo_path) for file in revision.files
    )


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
