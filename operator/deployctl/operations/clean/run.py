"""Looks at disks, decides, and removes what nothing needs."""

import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from deployctl.errors import DeployctlError, InputError, StateError
from deployctl.events import Event, Tell, silent
from deployctl.operations.clean import folders, hubcache
from deployctl.operations.clean.decide import DiskPiece, Fate, decide, needs_of
from deployctl.operations.deploy.services import open_store
from deployctl.spec import TargetKind
from deployctl.targets import brought
from deployctl.targets.history import KEPT, Release
from deployctl.targets.store import Store
from deployctl.units import size


@dataclass(frozen=True)
class Cleaning:
    """What a look found: the fate of each piece, and what could not be looked at."""

    fates: tuple[Fate, ...]
    freed: int  # bytes, about: what pieces share is counted once in the Hub's cache alone
    unknown: tuple[str, ...] = ()  # why something was not looked at

    @property
    def going(self) -> list[DiskPiece]:
        """What goes."""
        return [fate.piece for fate in self.fates if fate.goes]

    def within(self, former: "Cleaning") -> "Cleaning":
        """What goes by both: a person who was asked saw the `former`."""
        seen = {_which(piece) for piece in former.going}
        fates = (f._replace(goes=f.goes and _which(f.piece) in seen) for f in self.fates)
        return replace(self, fates=tuple(fates))

    def document(self, *, removed: bool) -> dict[str, Any]:
        """What JSON answers say of it."""
        return {
            "removed": removed,
            "bytes": self.freed,
            "pieces": [
                {
                    "sort": fate.piece.sort,
                    "name": fate.piece.name,
                    "place": fate.piece.place,
                    "bytes": fate.piece.bytes,
                    "goes": fate.goes,
                    "why": fate.why,
                }
                for fate in self.fates
            ],
            "unknown": list(self.unknown),
        }


def look(
    *,
    keep: int = KEPT,
    everything: bool = False,
    elsewhere: bool = False,
    now: Callable[[], float] = time.time,
) -> Cleaning:
    """What would go: of caches, images and logs of this machine, and of the Docker engine that is
    named; `elsewhere`, where the settings are those of another host's engine, of that alone.
    `keep` revisions of each service, of those that served, keep what they need.

    Raises:
        InputError: `keep` is none.
        StateError: what is needed is not known: a record cannot be read. Nothing goes then.
        DockerError: the engine `elsewhere` does not answer: nothing else was to be looked at.
    """
    if keep < 1:
        raise InputError("a service keeps at least one revision", where="--keep")
    settings, store = open_store()
    unknown: list[str] = []
    ours = brought.read(settings.state_dir)
    pieces = folders.of_docker(settings)
    services: dict[tuple[TargetKind, str], list[Release]] = {}
    if not elsewhere:
        pieces += [*folders.pieces(settings), *hubcache.pieces(ours)]
        services |= _recorded(store, "process")
    try:
        if _has_docker(store, ours):
            services |= _recorded(store, "docker")
            images = {r.plan.engine.image for each in services.values() for r in each}
            pieces += _of_engine(ours, images)
    except StateError:
        raise  # of a record that is damaged: what it needs is not known
    except DeployctlError as error:
        if elsewhere:
            raise
        unknown.append(f"Docker: {error.message}")
        # What services there need is not known: of what they may share, nothing goes.
        pieces = [piece for piece in pieces if piece.sort == "caches"]
    fates = decide(pieces, needs_of(services, keep), now(), everything=everything)
    models = [f.piece for f in fates if f.goes and f.piece.sort == "model"]
    rest = sum(f.piece.bytes for f in fates if f.goes and f.piece.sort != "model")
    return Cleaning(tuple(fates), rest + hubcache.freed(models), tuple(unknown))


def remove(cleaning: Cleaning, tell: Tell = silent) -> None:
    """Removes what goes; what is begun to be used meanwhile, Docker refuses to remove.

    Raises:
        StateError, DockerError: something cannot be removed; what came before it is gone.
    """
    models = [piece for piece in cleaning.going if piece.sort == "model"]
    if models:
        hubcache.remove(models)
    for piece in cleaning.going:
        if piece.sort in ("checkpoint", "turns"):
            from deployctl.targets.docker import disks

            disks.drop(_engine(), piece.place)
        elif piece.sort == "image" or (piece.sort == "caches" and piece.target == "docker"):
            engine = _engine()
            drop = engine.drop_image if piece.sort == "image" else engine.drop_volume
            drop(piece.place)
        elif piece.sort != "model":
            folders.remove(piece)
        tell(Event("note", f"removed {piece.name}, {size(piece.bytes)}"))


def _which(piece: DiskPiece) -> tuple[str, ...]:
    return piece.sort, piece.target, piece.of, piece.place


def _recorded(store: Store, target: TargetKind) -> dict[tuple[TargetKind, str], list[Release]]:
    """All releases on record, of services changed from here and of an engine's others. What runs in
    a cluster needs nothing of this machine."""
    refs = [*store.services(target), *store.others(target)]
    return {(ref.target, ref.service): store.releases(ref) for ref in refs}


def _has_docker(store: Store, ours: Collection[brought.Brought]) -> bool:
    """Whether a Docker engine was used from here, or is named, by a context too."""
    from deployctl.targets.docker.address import docker_host

    used = "docker" in store.targets() or any(each.sort == "image" for each in ours)
    return used or bool(docker_host(os.environ))


def _engine() -> Any:
    from deployctl.targets.docker.engine import here

    return here()


def _of_engine(ours: Mapping[brought.Brought, float], named: Collection[str]) -> list[DiskPiece]:
    """Images of the repositories that deployctl has served from, and caches of services."""
    from deployctl.targets.docker import disks

    engine = _engine()
    which = engine.identity()
    pulled = {each.name: came for each, came in ours.items() if each.engine == which}
    repositories = {_repository(name) for name in (*named, *pulled)}
    found = [
        DiskPiece(
            "image",
            image.name,
            image.name,
            image.bytes,
            image.name in pulled,
            target="docker",
            came=pulled.get(image.name, 0.0),
            in_use=image.in_use,
        )
        for image in disks.images(engine)
        if _repository(image.name) in repositories
    ]
    for sent in disks.checkpoints(engine):
        name = f"checkpoint that was sent: volume {sent.name}"
        made = DiskPiece("checkpoint", name, sent.name, sent.bytes, True, of=sent.service)
        found.append(made._replace(target="docker", in_use=sent.in_use, came=sent.came))
    for locks in disks.turns(engine):
        name = f"locks of cards that engines share: volume {locks.name}"
        made = DiskPiece("turns", name, locks.name, locks.bytes, True, target="docker")
        found.append(made._replace(in_use=locks.in_use, came=locks.came))
    for cache in disks.caches(engine):
        # A project that plain Compose runs has the same names, and no records.
        name = f"caches of {cache.service}: volume {cache.name}"
        made = DiskPiece("caches", name, cache.name, cache.bytes, False, of=cache.service)
        found.append(made._replace(target="docker", in_use=cache.in_use, came=cache.came))
    return found


def _repository(image: str) -> str:
    """An image's name without its tag."""
    head, slash, last = image.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"
