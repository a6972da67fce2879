"""The locks by which an engine host's containers load one at a time on a card that they share:
files of a volume that all of them have, to read alone (deploy/door/engine_turn.py).
"""

from typing import Any

from deployctl.render.compose import LABEL, TURNS_FOLDER, engine_name
from deployctl.render.gateway import Place
from deployctl.render.watchdog import takes_turns
from deployctl.spec.fleet import MOST_CARDS
from deployctl.targets.docker.carriers import Carriers
from deployctl.targets.history import Release

VOLUME = "deployctl_turns"  # of no service
TURNS = LABEL + "turns"  # the label of both, the volume and the container that has it
_NAMES = ["cpu", *map(str, range(MOST_CARDS))]
_FILES = {f"card-{name}": b"" for name in _NAMES}


def project(release: Release, place: Place = None) -> dict[str, Any]:
    """What a release's Compose project has besides, so that its engine takes turns; nothing where
    its cards are its own."""
    if not takes_turns(release.plan, release.spec):
        return {}
    mount = {"type": "volume", "source": "turns", "target": TURNS_FOLDER, "read_only": True}
    return {
        "services": {engine_name(place): {"volumes": [mount]}},
        "volumes": {"turns": {"external": True, "name": VOLUME}},
    }


def make(carriers: Carriers, release: Release) -> None:
    """Has the volume be there for a release that takes turns. What is there stays as it is: a lock
    is its file's.

    Raises:
        DockerError: it cannot be made.
    """
    if not takes_turns(release.plan, release.spec):
        return
    labels = {TURNS: "all"}
    if carriers.volume(VOLUME) is None:
        carriers.make_volume(VOLUME, labels)
    carriers.create(VOLUME, labels, {VOLUME: TURNS_FOLDER})  # it may be there
    # Whoever made it may have been killed before all files were in it.
    there = carriers.read(VOLUME, TURNS_FOLDER) or {}
    if missing := {name: content for name, content in _FILES.items() if name not in there}:
        carriers.write(VOLUME, TURNS_FOLDER, missing)
