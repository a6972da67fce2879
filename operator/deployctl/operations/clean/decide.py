"""What is kept and what may go. Pure: a listing of what is there, the releases, and the time.

A revision is kept that `rollback` reaches, of every service, also of one that is down. What any of
them needs stays, whatever else is said.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from deployctl.render.watchdog import takes_turns
from deployctl.spec import TargetKind
from deployctl.targets.history import KEPT, Release, too_old

FRESH_S = 24 * 3600.0  # what came less long ago may be meant for an `up` that is still to come

Sort = Literal["model", "checkpoint", "image", "caches", "turns", "log"]


class DiskPiece(NamedTuple):
    """Something on a disk that can be removed by itself."""

    sort: Sort
    name: str  # for a person
    place: str  # what it is removed by: commit, image, volume or path
    bytes: int  # about; pieces may share
    ours: bool  # deployctl brought or made it
    # Of a model the repository, of a checkpoint that was sent its digest, of all else the service.
    of: str = ""
    revision: int = 0  # of a log
    target: TargetKind = "process"
    came: float = 0.0  # Unix time; 0: unknown, long ago
    in_use: str = ""  # by what, where somebody uses it at this moment


class KeptNeeds(NamedTuple):
    """What the kept revisions need, each with who needs it: `SERVICE revision 3`."""

    commits: Mapping[tuple[str, str], str]  # of a repository
    repositories: Mapping[str, str]  # whole: which commit is not known
    texts: Mapping[str, str]  # arguments and environments: what they name is needed whole
    images: Mapping[str, str]
    checkpoints: Mapping[str, str]  # that were sent to an engine, by their digest
    services: Collection[tuple[TargetKind, str]]  # that have any record
    revisions: Collection[tuple[TargetKind, str, int]]  # that are kept
    turns: str = ""  # one of a Docker engine that loads in turn with those of its cards


class Fate(NamedTuple):
    """A piece, whether it goes, and why."""

    piece: DiskPiece
    goes: bool
    why: str


def needs_of(
    services: Mapping[tuple[TargetKind, str], list[Release]], keep: int = KEPT
) -> KeptNeeds:
    """What the releases of all services need: by service, all that are on record. Of each, the last
    `keep` that served and the last that failed are kept, and any that is at work or serves."""
    commits: dict[tuple[str, str], str] = {}
    repositories: dict[str, str] = {}
    texts: dict[str, str] = {}
    images: dict[str, str] = {}
    checkpoints: dict[str, str] = {}
    revisions: set[tuple[TargetKind, str, int]] = set()
    turns = ""
    for (target, service), releases in services.items():
        old = too_old({r.revision: r.status for r in releases}, keep)
        for release in releases:
            if release.revision in old and release.status not in ("pending", "deployed"):
                continue
            who = f"{service} revision {release.revision}"
            revisions.add((target, service, release.revision))
            plan = release.plan
            if target == "docker" and takes_turns(plan, release.spec):
                turns = who
            images[_in_full(plan.engine.image)] = who
            checkpoints[plan.checkpoint] = who
            texts["\n".join(_words(release))] = who
            commit = plan.hub_revision
            if commit is None:
                repositories[plan.model] = who
            else:
                commits[plan.model, commit] = who
    known = set(services)
    return KeptNeeds(commits, repositories, texts, images, checkpoints, known, revisions, turns)


def _words(release: Release) -> Iterator[str]:
    """What a release says besides its model, where other models may be named: a tokenizer,
    adapters, a draft model. The name that the model is served by is none of that. A folder may be
    one of the Hub's cache."""
    if release.plan.model_local:
        yield release.plan.model
    arguments = release.plan.engine.args
    for before, word in zip(("", *arguments), arguments, strict=False):
        if before != "--served-model-name":
            yield word
    yield from release.plan.engine.env.values()
    yield from map(str, release.spec.engine_args.values())


def _in_full(image: str) -> str:
    """An image's name, of which an engine lists the short form: `docker.io/library/name:latest`."""
    first, slash, _ = image.partition("/")
    if not slash:
        image = f"library/{image}"
    if not slash or not (first == "localhost" or {".", ":"} & set(first)):
        image = f"docker.io/{image}"
    return image if ":" in image.rpartition("/")[2] else f"{image}:latest"


def decide(
    pieces: Iterable[DiskPiece], needs: KeptNeeds, now: float, *, everything: bool = False
) -> list[Fate]:
    """The fate of each piece. With `everything`, also what deployctl does not know to have brought;
    never what a kept revision needs, or what is in use. `now` is Unix time."""
    return [_fate(piece, needs, now, everything) for piece in pieces]


def _fate(piece: DiskPiece, needs: KeptNeeds, now: float, everything: bool) -> Fate:
    if piece.in_use:
        return Fate(piece, False, f"in use by {piece.in_use}")
    if who := _needed(piece, needs):
        return Fate(piece, False, f"{who} needs it")
    if not piece.ours and not everything:
        return Fate(piece, False, "deployctl does not know to have brought it: --all takes it too")
    if now - piece.came < FRESH_S:
        return Fate(piece, False, "it came less than a day ago")
    return Fate(piece, True, "no kept revision needs it")


def _needed(piece: DiskPiece, needs: KeptNeeds) -> str:
    """Who needs it; "" where nobody does."""
    if piece.sort == "model":
        names = (piece.of, f"models--{piece.of.replace('/', '--')}")  # by its folder in the cache
        named = (who for text, who in needs.texts.items() if any(name in text for name in names))
        who = needs.commits.get((piece.of, piece.place)) or needs.repositories.get(piece.of)
        return who or next(named, "")
    if piece.sort == "checkpoint":
        return needs.checkpoints.get(piece.of, "")
    if piece.sort == "turns":
        return needs.turns
    if piece.sort == "image":
        return needs.images.get(_in_full(piece.place), "")
    if piece.sort == "log":
        kept = (piece.target, piece.of, piece.revision) in needs.revisions
        return f"{piece.of} revision {piece.revision}" if kept else ""
    return piece.of if (piece.target, piece.of) in needs.services else ""
