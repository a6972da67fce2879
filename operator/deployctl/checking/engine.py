"""One vLLM server, whatever runs it, as far as the documents tell; and its image."""

import math
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from deployctl.checking.commandline import EMPTY, CommandLine, Word, command_line
from deployctl.checking.documents import Document, Place
from deployctl.checking.values import items, mapping, text
from deployctl.engines.vllm import BUILT_HERE

DEFAULT_PORT = 8000
KEY_REQUIRED = "API_KEY_REQUIRED"
_PARALLEL = ("tensor", "pipeline", "data")
MOVING = frozenset(
    {"", "latest", "nightly", "main", "master", "dev", "edge", "stable", "latest-nightly", "cpu"}
)
# Repositories whose tags are vLLM's own release numbers.
_RELEASES = re.compile(
    r"(^|/)(vllm/vllm-openai(-cpu|-rocm|-xpu)?|deployctl/vllm-cpu|vllm-cpu-release-repo)$"
)
_VERSION = re.compile(r"v?(\d+\.\d+\.\d+(\.post\d+|rc\d+)?)")
_OTHER_PARTS = re.compile(
    r"router|production-stack|lmstack|operator|gateway|exporter|cache-?server"
)
_OTHER_DEVICES = re.compile(r"rocm|tpu|neuron|hpu|gaudi|xpu|ascend|npu")


class Image(NamedTuple):
    """An image reference, taken apart."""

    text: str
    repository: str
    tag: str
    digest: str

    @property
    def pinned(self) -> bool:
        """Whether it names the same bytes tomorrow, as far as a tag can promise that."""
        return bool(self.digest) or (self.tag not in MOVING and not self.tag.startswith("nightly"))

    @property
    def is_built_here(self) -> bool:
        """Whether deployctl builds it on the host: no registry has it, so nobody can replace it."""
        return self.repository.startswith(BUILT_HERE)

    @property
    def unknown(self) -> bool:
        """Whether a variable or a template stands for it."""
        return "$" in self.text or "{{" in self.text

    @property
    def version(self) -> str | None:
        """The vLLM release inside, where the repository's tags tell."""
        match = _VERSION.match(self.tag)
        return match[1] if match and _RELEASES.search(self.repository) else None

    @property
    def is_engine(self) -> bool:
        """Whether it looks like vLLM itself rather than something around it."""
        name = self.repository.lower()
        return "vllm" in name and not _OTHER_PARTS.search(name)

    @property
    def cpu(self) -> bool:
        """Whether it is a build for CPUs."""
        return bool(re.search(r"(^|[-_./])cpu([-_./]|$)", f"{self.repository}:{self.tag}"))

    @property
    def cuda(self) -> bool:
        """Whether it is known to be a build for CUDA: vLLM's own image, or one made like it."""
        return self.repository.endswith("vllm-openai") and not (self.cpu or self.other_device)

    @property
    def other_device(self) -> bool:
        """Whether it is a build for hardware that is neither NVIDIA's nor a CPU."""
        return bool(_OTHER_DEVICES.search(f"{self.repository}:{self.tag}".lower()))


def image(reference: str) -> Image:
    """Takes an image reference apart: `registry:5000/repository:tag@digest`."""
    name, _, digest = reference.partition("@")
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return Image(reference, f"{head}{slash}{last}", tag, digest)


NO_IMAGE = Image("", "", "", "")


class EnvVar(NamedTuple):
    """One environment variable. The value is None when something else holds it."""

    value: str | None
    place: Place


class Mount(NamedTuple):
    """Something mounted in a container."""

    path: str
    kind: str  # memory, scratch (dies with the pod), kept (outlives it) or readonly
    size: float | None = None  # bytes, where it is limited


@dataclass(frozen=True, eq=False)
class DeclaredEngine:
    """One vLLM server."""

    place: Place
    data: dict[str, Any]
    image: Image = NO_IMAGE
    image_place: Place | None = None
    command: CommandLine = EMPTY
    env: dict[str, EnvVar] = field(default_factory=dict)
    env_complete: bool = True  # False where a whole ConfigMap or file is read in
    version: str | None = None
    mounts: tuple[Mount, ...] = ()
    user: int | None = None  # None: whatever the image says
    non_root: bool = False
    read_only_root: bool = False
    startup_budget: float | None = None  # seconds that the plan allows for a start

    @property
    def in_container(self) -> bool:
        """Whether it runs in a container, and not as a process of the host."""
        return self.place.document.family != "command"

    @property
    def in_pod(self) -> bool:
        """Whether Kubernetes runs it."""
        return self.place.document.family == "kubernetes"

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
        """Whether it wants an NVIDIA GPU, as far as one can tell."""
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
        sizes = [self.command.whole(f"{kind}-parallel-size") for kind in _PARALLEL]
        known = [size for size in sizes if size is not None]
        return math.prod(known) if len(known) == len(sizes) else None

    @property
    def parallel(self) -> bool:
        """Whether several processes share one model."""
        sizes = [self.command.whole(f"{kind}-parallel-size") for kind in _PARALLEL[:2]]
        return any(size is not None and size > 1 for size in sizes)

    @property
    def doored(self) -> bool:
        """Whether deployctl's door is the outermost that a request passes: the last middleware."""
        return (self.command.text("middleware") or "").startswith("deployctl_door.")

    @property
    def keyed(self) -> bool | None:
        """Whether clients must give an API key; None when it cannot be known.

        Of an engine behind the door that is what the release says, not what vLLM itself wants.
        """
        required = self.env.get(KEY_REQUIRED)
        if required is not None and required.value not in ("", "0"):
            return True
        if not self.doored and ("api-key" in self.command.flags or "VLLM_API_KEY" in self.env):
            return True
        return False if self.env_complete else None

    def mount_at(self, path: str) -> Mount | None:
        """The mount that a path falls into."""
        over = [m for m in self.mounts if f"{path}/".startswith(m.path.rstrip("/") + "/")]
        return max(over, key=lambda mount: len(mount.path), default=None)

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


def engine_of_command(document: Document) -> DeclaredEngine:
    """The engine that a rendered command.json starts."""
    words = [
        Word(str(word), document.place("arguments", index))
        for index, word in enumerate(items(document.data.get("arguments")))
    ]
    environment = {
        name: EnvVar(text(value), document.place("environment", name))
        for name, value in mapping(document.data.get("environment")).items()
    }
    if document.data.get("api_key") is True:
        environment[KEY_REQUIRED] = EnvVar("1", document.place("api_key"))
    return DeclaredEngine(
        place=document.place(),
        data={},
        command=command_line([], words, engine_image=False),
        env=environment,
        version=text(document.data.get("engine_version")) or None,
    )
