"""Driver: the few things a target must be able to do. Everything else is in `rollout`."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from deployctl.endpoint import Endpoint
from deployctl.events import Tell
from deployctl.planning.plan import ServingPlan
from deployctl.render.bundle import Bundle
from deployctl.spec import TargetKind
from deployctl.targets.gateway import Gateway
from deployctl.targets.history import Release
from deployctl.targets.restarts import NONE, Restarts

# What an engine is started with whose model was brought, if it wants nothing else of the Hub: vLLM
# asks the Hub for what it has, and ends after three minutes where that does not answer.
OFFLINE = "HF_HUB_OFFLINE"


class EngineState(NamedTuple):
    """What a driver finds when it looks at a release's engine."""

    condition: Literal["running", "dead", "absent"]
    detail: str = ""  # "exit code 1", "killed by signal 9", "unhealthy" …
    started: str | None = None  # ISO 8601, UTC
    pid: int | None = None  # process target
    pids: tuple[int, ...] = ()  # the engine and its children, where this machine can tell
    container: str | None = None  # docker target
    memory_bytes: int | None = None  # resident, engine and children
    waits_for: tuple[str, ...] = ()  # before it can answer, or start, where the target knows
    hint: str | None = None  # of one that died: what to do, where the target knows
    cards: tuple[str, ...] = ()  # that its pods were given by claim, on Kubernetes
    restarts: Restarts = NONE  # by its watchdog, on a host
    lingers: bool = False  # of one that died: some of it runs still, or is about to again
    halted: bool = False  # of an absent one: for a shutdown, as `detail` says

    @property
    def has_memory(self) -> bool:
        """Whether it holds what its plan gives it, or is about to: one that has ended does not."""
        return self.condition == "running" or self.lingers


class Surveyed(NamedTuple):
    """A service in a look at all of a target's at once."""

    service: str
    revision: int
    status: str  # of its release
    state: EngineState
    ready: bool  # one of its engines takes requests
    message: str  # of its release
    url: str
    model: str
    gpu: str
    coming: str = ""  # of a revision that is being brought up, before it starts


class Holding(NamedTuple):
    """What a target holds of a service and what would be made of it, as YAML documents; those alone
    that differ. By an object's `Kind/name`: `others`, who else changed it since; `refused`, why it
    cannot be made what it should be."""

    now: str
    then: str
    others: dict[str, str]
    refused: dict[str, str]


class Room(NamedTuple):
    """Whether there is room for one engine more, and why, for a person."""

    free: bool
    why: str


class Downloader(NamedTuple):
    """How a model is downloaded to where its engine looks for it."""

    python: tuple[str, ...]  # a command that starts the engine's Python, there
    environment: dict[str, str]  # of that command
    place: str  # where that is, for a person


class ModelFile(NamedTuple):
    """A file of a checkpoint in a folder of this machine."""

    name: str  # its path in the folder
    size: int  # bytes
    sha256: str  # hexadecimal


class Uploader(Protocol):
    """How a checkpoint in a folder of this machine gets to where its engine looks for it."""

    digest: str  # of the checkpoint that the release serves
    place: str  # for a person

    def is_there(self) -> bool:
        """Whether all of it is there already, and was checked."""

    def upload(self, folder: Path, files: Sequence[ModelFile], tell: Tell) -> int:
        """Sends what is missing, and checks it; returns how many bytes came.

        Raises:
            ModelError: a file is not what its digest says.
            TargetError: no room, no right, or no way there.
            InterruptedByUserError: Ctrl-C. What has come is kept.
        """


class Driver(Protocol):
    """One target. Methods raise TargetError subclasses and nothing else.

    When `release.spec.needs_api_key`, `rollout` has put the API key at
    `API_KEY` of the service's folder before it calls `start`.
    """

    target: TargetKind
    replaces: bool  # `start` puts a release in the place of the former, which serves until then
    # When a door goes by keys that were published: within a second, or once nodes have brought them
    # to pods.
    keys_count: Literal["now", "soon"]

    @property
    def gateway(self) -> Gateway | None:
        """What may stand before its services, on a host."""

    def changing(self, service: str, command: str, tell: Tell) -> AbstractContextManager[None]:
        """Held while a service is changed, under its lock on this machine: where others change it
        from elsewhere, their lock too, and what they have made of it and of its keys.
        """

    def take_over(self, service: str, command: str, tell: Tell) -> None:
        """Makes what the target has of another service of that name the one that is known here,
        where it knows one from the other.
        """

    def preflight(self, release: Release, replacing: Release | None) -> None:
        """Refuses what cannot work (port taken, image missing, engine not installed).

        `replacing` is the release whose port and name will be free by then.
        """

    def fetch(self, release: Release, tell: Tell) -> None:
        """Brings what `start` needs and the target lacks, while a former release still serves;
        all but the model, for which `downloader` is.
        """

    def downloader(self, release: Release) -> Downloader | None:
        """How the release's model is downloaded, once `fetch` is done; None where it looks for it
        in a place that we do not know.
        """

    def uploader(self, release: Release) -> Uploader | None:
        """How the folder of the release's checkpoint gets to its engine; None where that sees it,
        or where the release says that it is there.
        """

    def start(self, release: Release, tell: Tell, *, serves: Release | None = None) -> None:
        """Starts the engine and returns; starting one that runs changes nothing. An engine whose
        model is where `downloader` says is told not to ask the Hub for it. It comes up beside one
        that `serves` meanwhile, which is not touched.
        """

    def stop(self, release: Release, tell: Tell) -> None:
        """Stops the engine and all that belongs to it; stopping nothing is fine."""

    def learn_keys(self, service: str) -> None:
        """Brings the keys to the service's folder as they are on the target, where others change
        them from elsewhere.
        """

    def changing_keys(self, service: str) -> AbstractContextManager[None]:
        """Held while the keys here are changed and published, so that of two who do it from
        elsewhere neither loses what the other did: where others can. Publishing holds it too.
        """

    def publish_keys(self, release: Release) -> None:
        """Gives the door of a running release the keys as they are now, under `keys.locked`; when
        it goes by them says `keys_count`. Of one that does not run, or has no door, they are kept
        where others change them, too.
        """

    def close_door(self, release: Release) -> bool:
        """Has the door of a running release let no new request in, until its engine is started
        anew. False where there is none, or where it was told so before.
        """

    def state(self, release: Release) -> EngineState:
        """Looks; never guesses from records."""

    def logs(self, release: Release, *, tail: int | None, follow: bool) -> Iterator[str]:
        """Yields the engine's log, oldest line first; with `follow`, until the engine ends."""

    def endpoint(self, release: Release) -> Endpoint:
        """Tells where it answers."""

    def engines(self, release: Release) -> list[Endpoint]:
        """Tells where each of its engines answers, where that is more than one."""

    def purge(self, service: str, tell: Tell, *, heir: str | None = None) -> None:
        """Removes what `down` keeps: caches and volumes of the service. Of a service that tried
        something for another, its `heir`, a checkpoint that was brought stays for that one.
        """

    def log_path(self, release: Release) -> Path | None:
        """The log as a file, where there is one."""


class View(Protocol):
    """What can be asked of a target that holds more than its own machine does. Methods raise
    TargetError subclasses and nothing else.
    """

    def reach(self) -> None:
        """Asks it for next to nothing, before anything that takes long.

        Raises:
            TargetError: it does not answer, or the place that is named is not there.
        """

    def survey(self) -> list[Surveyed]:
        """All services that have a record, by what the target knows of them without asking any
        engine.
        """

    def held(self, bundle: Bundle, former: Bundle | None) -> Holding:
        """What there is of a service's objects, against what `bundle` would make of them where the
        release was made from `former`. Nothing is changed.
        """

    def kept(self, service: str) -> list[str]:
        """What of a service outlives `down`, and takes room: each for a person."""

    def cards(self, *, claimed: bool = False) -> str:
        """Which cards there are and who has taken them, for a person: of those by claim."""

    def room(self, plan: ServingPlan, bundle: Bundle) -> Room:
        """Whether there is room for an engine of a plan beside all that runs."""
