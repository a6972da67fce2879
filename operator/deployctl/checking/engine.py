"""Engine: one vLLM server, whatever runs it, as far as the documents tell."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from deployctl.checking.commandline import EMPTY, CommandLine
from deployctl.checking.documents import Place
from deployctl.checking.image import NO_IMAGE, Image

if TYPE_CHECKING:
    from deployctl.checking.pods import Pod

DEFAULT_PORT = 8000
KEY_REQUIRED = "API_KEY_REQUIRED"


class Variable(NamedTuple):
    """One environment variable. The value is None when something else holds it."""

    value: str | None
    place: Place


class Mount(NamedTuple):
    """Something mounted in a container."""

    path: str
    kind: str  # memory, scratch (dies with the pod), kept (outlives it) or readonly
    size: float | None = None  # bytes, where it is limited


@dataclass(frozen=True, eq=False)
class Engine:
    """One vLLM server."""

    place: Place
    data: dict[str, Any]
    image: Image = NO_IMAGE
    image_place: Place | None = None
    command: CommandLine = EMPTY
    env: dict[str, Variable] = field(default_factory=dict)
    env_complete: bool = True  # False where a whole ConfigMap or file is read in
    version: str | None = None
    mounts: tuple[Mount, ...] = ()
    user: int | None = None  # None: whatever the image says
    non_root: bool = False
    read_only_root: bool = False
    pod: "Pod | None" = None

    @property
    def cpu(self) -> bool:
        """Whether it runs on the CPU."""
        return (
            self.image.cpu
            or "VLLM_CPU_KVCACHE_SPACE" in self.env
            or self.command.text("device") == "cpu"
        )

    @property
    def nvidia(self) -> bool:
        """Whether it wants an NVIDIA card, as far as one can tell."""
        return not self.cpu and not self.image.other_device and bool(self.image.text)

    @property
    def model(self) -> str:
        """The model it loads; empty when it is not said."""
        word = self.command.model
        return "" if word is None or word.expanded else word.text

    @property
    def model_local(self) -> bool:
        """Whether the model is a folder."""
        return self.model.startswith(("/", "./", "~"))

    @property
    def served_names(self) -> list[str]:
        """The names clients and metrics use; empty when they cannot be known."""
        flag = self.command.flags.get("served-model-name")
        if flag is not None:
            return [] if any(w.expanded for w in flag.values) else [w.text for w in flag.values]
        return [self.model] if self.model else []

    @property
    def port(self) -> int | None:
        """The port it listens on; None when it cannot be known."""
        given = self.command.number("port", DEFAULT_PORT)
        return int(given) if given is not None and 0 < given < 65536 else None

    @property
    def world(self) -> int | None:
        """GPUs of one replica: tensor × pipeline × data parallel; None when unknown."""
        sizes = [self.command.whole(f"{kind}-parallel-size") for kind in ("tensor", "pipeline")]
        sizes.append(self.command.whole("data-parallel-size"))
        total = 1
        for size in sizes:
            if size is None:
                return None
            total *= size
        return total

    @property
    def parallel(self) -> bool:
        """Whether several processes share one model."""
        sizes = [self.command.whole(f"{kind}-parallel-size") for kind in ("tensor", "pipeline")]
        return any(size is not None and size > 1 for size in sizes)

    @property
    def keyed(self) -> bool | None:
        """Whether clients must give an API key; None when it cannot be known."""
        # API_KEY_REQUIRED: deployctl's own entrypoint, which takes the key from a file.
        if "api-key" in self.command.flags or self.env.keys() & {"VLLM_API_KEY", KEY_REQUIRED}:
            return True
        return False if self.env_complete else None

    def mount_at(self, path: str) -> Mount | None:
        """The mount that a path falls into."""
        best: Mount | None = None
        for mount in self.mounts:
            base = mount.path.rstrip("/")
            inside = path == base or path.startswith(f"{base}/")
            if inside and (best is None or len(mount.path) > len(best.path)):
                best = mount
        return best

    def writable(self, path: str) -> bool:
        """Whether the engine's user can write below a path."""
        mount = self.mount_at(path)
        if mount is not None:
            return mount.kind != "readonly"
        if self.read_only_root:
            return False
        return not self.unprivileged or path.startswith(("/tmp", "/var/tmp", "/dev/shm"))  # noqa: S108

    @property
    def unprivileged(self) -> bool:
        """Whether it is said not to run as root."""
        return self.user not in (None, 0) or (self.non_root and self.user is None)
