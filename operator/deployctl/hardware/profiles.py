"""GpuProfile: a piece of hardware, as a YAML file describes it.

The shipped files are in deploy/profiles/; users may give their own. No card is asked here (that
is `deployctl.doctor`).
"""

import os
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from deployctl import assets
from deployctl.errors import ProfileError, SpecError, did_you_mean
from deployctl.given import expanded, is_file
from deployctl.spec.load import complaint, read_documents
from deployctl.spec.number import NO_SWITCHES

_SUFFIXES = (".yaml", ".yml", ".json")


class Interconnect(BaseModel):
    """How the cards of one host reach each other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["nvlink", "pcie", "none"]
    bandwidth_gb_s: float = Field(
        gt=0, allow_inf_nan=False, description="GB/s a card, one direction"
    )
    peer_to_peer: bool = Field(description="whether the driver lets cards write to each other")
    pcie_generation: int | None = Field(None, ge=1, le=8, description="of the card's slot")

    _numbers = NO_SWITCHES


class NodeTaint(BaseModel):
    """A taint of the nodes with this card, which pods tolerate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(min_length=1)
    value: str | None = None  # any, unless it is given
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


class Slice(BaseModel):
    """A part of a card that MIG sets apart: a GPU of its own, with memory and processors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_gib: float = Field(gt=0, le=4096, allow_inf_nan=False, description="GiB of a slice")
    memory_share: float = Field(
        gt=0, le=1, allow_inf_nan=False, description="of the card's memory, and so of its bandwidth"
    )
    multiprocessors: int = Field(ge=1, description="of the card's")
    most: int = Field(ge=1, le=16, description="slices of this size on one card")

    _numbers = NO_SWITCHES


SliceName = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,2}g\.[0-9]{1,4}gb$")]


class GpuProfile(BaseModel):
    """A piece of hardware. Every figure's source is in `sources`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # A slice's name is that of its card and its own: "a100-80gb:1g.10gb".
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*(:[0-9]{1,2}g\.[0-9]{1,4}gb)?$")
    title: str  # as people write it: "NVIDIA L4 (24 GB)"
    kind: Literal["cuda", "cpu"] = "cuda"
    aliases: tuple[str, ...] = ()
    matches: tuple[str, ...] = ()  # names nvidia-smi prints, whole
    memory_gib: float = Field(
        gt=0,
        le=4096,
        allow_inf_nan=False,
        description="GiB a card, as the driver (torch) reports it; the host's for a CPU",
    )
    memory_total_mib: int | None = Field(
        None, ge=1, description="MiB a card, as nvidia-smi and the DRA driver tell it: all of it"
    )
    memory_bandwidth_gb_s: float = Field(gt=0, allow_inf_nan=False, description="GB/s a card")
    # "8.9"; None for a CPU
    compute_capability: str | None = Field(None, pattern=r"^[0-9]{1,2}\.[0-9]$")
    dense_tflops_bf16: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="TFLOPS in BF16 without sparsity"
    )
    multiprocessors: int | None = Field(None, ge=1, description="streaming multiprocessors a card")
    interconnect: Interconnect | None = None
    slices: dict[SliceName, Slice] = {}  # what MIG can cut it into: "1g.10gb" and others
    max_per_host: int = Field(8, ge=1)
    price_per_hour_usd: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="US dollars a card and hour, on demand; rough"
    )
    node_selector: dict[str, str] = {}  # labels that NVIDIA's GPU feature discovery sets
    node_selector_gke: dict[str, str] = {}  # labels that GKE sets instead
    tolerations: tuple[NodeTaint, ...] = ()  # of taints besides nvidia.com/gpu
    runtime_class: str | None = Field(
        None, description="RuntimeClass of pods, where a cluster's default sees no card"
    )
    startups: int = Field(
        0, ge=0, description="logged start-ups on this card that plans were held against"
    )
    sources: dict[str, str] = {}  # field -> where the figure comes from

    _numbers = NO_SWITCHES

    @property
    def capability(self) -> float:
        """The compute capability as a number; 0 for a CPU or when unknown."""
        return float(self.compute_capability or 0)

    @property
    def before_ampere(self) -> bool:
        """Whether it is too old for bfloat16 and FlashAttention 2: both need 8.0."""
        return self.kind == "cuda" and 0 < self.capability < 8.0

    @property
    def slice(self) -> str | None:
        """The name that MIG gives this slice of a card, such as `1g.10gb`; None: a whole card."""
        return mig_slice(self.name)

    def sliced(self, name: str, where: str) -> "GpuProfile":
        """Returns the profile of one of this card's slices.

        A slice has its own memory and its share of the card's bandwidth, processors and price.
        No slice reaches another (NVIDIA/nccl#1716), so it has no interconnect.

        Raises:
            ProfileError: the profile has no such slice; `where` says who named it.
        """
        part = self.slices.get(name)
        if part is None:
            known = ", ".join(f"{self.name}:{each}" for each in self.slices)
            raise ProfileError(
                f"profile {self.name} has no MIG slice {name}",
                where=where,
                hint=f"known: {known}" if known else "its card has none, or they are not described",
            )
        processors = part.multiprocessors / (self.multiprocessors or part.multiprocessors)
        tflops, price = self.dense_tflops_bf16, self.price_per_hour_usd
        of_memory = f"{part.memory_share:g} of the card's, as of its memory"
        listed = self.sources.get("slices", "")
        kept = ("compute_capability", "node_selector")
        changed: dict[str, Any] = {
            "name": f"{self.name}:{name}",
            "title": f"{self.title}, MIG slice {name}",
            "aliases": (),
            "memory_gib": part.memory_gib,
            "memory_total_mib": round(part.memory_gib * 1024),
            "memory_bandwidth_gb_s": self.memory_bandwidth_gb_s * part.memory_share,
            "dense_tflops_bf16": tflops and round(tflops * processors, 1),
            "multiprocessors": part.multiprocessors,
            "interconnect": None,
            "slices": {},
            "max_per_host": self.max_per_host * part.most,
            "price_per_hour_usd": price and price * part.memory_share,
            "node_selector_gke": {},
            "startups": 0,
            "sources": {
                **{field: self.sources[field] for field in kept if field in self.sources},
                "memory_gib": listed,
                "memory_total_mib": listed,
                "multiprocessors": listed,
                "memory_bandwidth_gb_s": of_memory,
                "dense_tflops_bf16": f"{processors:.0%} of the card's, as of its multiprocessors",
                "interconnect": "no slice reaches another, NVIDIA/nccl#1716",
                "max_per_host": f"{part.most} on each of {self.max_per_host} cards",
                "price_per_hour_usd": of_memory,
            },
        }
        return self.model_copy(update=changed)


def load_profile(name_or_path: str, *, where: str = "--gpu") -> GpuProfile:
    """Returns the profile of a name (`l4`), an alias (`4090`) or a file (`./my-card.yaml`).

    Names are matched without regard to case. What holds a `/` or ends like a YAML file is a path.
    `CARD:SLICE`, as in `a100-80gb:1g.10gb`, is a MIG slice of a card. `where` says in an error who
    named it.

    Raises:
        ProfileError: no such profile or slice, or the file cannot be read or is wrong.
    """
    text = name_or_path.strip()
    card, _, part = text.rpartition(":")
    if card and re.fullmatch(r"[0-9]+g\.[0-9]+gb", part.lower()):
        return load_profile(card, where=where).sliced(part.lower(), where)
    if "/" in text or text.lower().endswith(_SUFFIXES):
        return read_profile(Path(text))
    named = shipped() / f"{text.lower()}.yaml"
    if is_file(named):  # a profile's own name: the others need not be read, which takes a while
        return read_profile(named)
    own = own_folder() / f"{text.lower()}.yaml"
    if text and is_file(own):
        return read_profile(own)
    known = {name: p for p in all_profiles() for name in (p.name, *p.aliases)}
    if text.lower() in known:
        return known[text.lower()]
    near = did_you_mean(text.lower(), [*known, *(p.stem for p in _own_files())], 0.5)
    names = ", ".join(p.name for p in (*all_profiles(), *own_profiles()))
    hint = f"{near} Known: {names}" if near else f"known: {names}"
    raise ProfileError(
        f"there is no hardware profile {name_or_path!r}",
        where=where,
        hint=f"{hint}; or give the path of a profile file",
    )


def slices_of(card: GpuProfile) -> tuple[GpuProfile, ...]:
    """The MIG slices of a card, or those beside one, by memory."""
    whole = load_profile(card.name.partition(":")[0]) if card.slice else card
    parts = [whole.sliced(name, whole.name) for name in whole.slices]
    return tuple(sorted(parts, key=lambda p: (p.memory_gib, p.multiprocessors or 0)))


def mig_slice(name: str) -> str | None:
    """The slice's own name in a profile's, `a100-80gb:1g.10gb`; None: it is a whole card's."""
    return name.partition(":")[2] or None


@cache
def all_profiles() -> tuple[GpuProfile, ...]:
    """Returns the shipped profiles: GPUs by memory, the CPU last.

    Raises:
        ProfileError: a shipped file is broken.
    """
    profiles = [read_profile(file) for file in shipped().glob("*.yaml")]
    return tuple(sorted(profiles, key=lambda p: (p.kind == "cpu", p.memory_gib, p.name)))


def own_profiles() -> tuple[GpuProfile, ...]:
    """Returns the user's profiles that `deployctl profiles add` wrote, by name.

    Raises:
        ProfileError: one of the files is broken, or their folder cannot be read.
    """
    return tuple(read_profile(file) for file in _own_files())


def _own_files() -> list[Path]:
    folder = own_folder()
    try:
        return sorted(folder.glob("*.yaml"))
    except OSError as error:
        raise ProfileError(
            f"cannot read your own profiles: {error.strerror}",
            where=str(folder),
            hint="run as the user who owns the folder, or set DEPLOYCTL_STATE_DIR",
        ) from error


def own_folder() -> Path:
    """Where the user's profiles are: beside the records of services (`DEPLOYCTL_STATE_DIR`)."""
    state = os.environ.get("DEPLOYCTL_STATE_DIR")
    folder = Path(state or "~/.local/state/deployctl")
    return expanded(folder, where="DEPLOYCTL_STATE_DIR") / "profiles"


def shipped() -> Path:
    """The folder of the shipped profiles: each is a file to start one's own from."""
    return assets.path("deploy", "profiles")


def read_profile(file: Path) -> GpuProfile:
    """Reads one profile file.

    Raises:
        ProfileError: the file cannot be read, is not YAML, or a value is wrong; `where` says
            which (`my.yaml: memory_gib`).
    """
    try:
        documents = read_documents(file)
    except SpecError as error:
        where = (error.where or str(file)).replace(": services/0", "")
        raise ProfileError(error.message, where=where, hint=_start_from()) from error
    if len(documents) > 1:
        raise ProfileError(
            f"the file holds {len(documents)} documents; a profile is one",
            where=str(file),
            hint="write each profile into a file of its own",
        )
    try:
        return GpuProfile.model_validate(documents[0])
    except ValidationError as error:
        problem = error.errors()[0]
        path = "/".join(str(part) for part in problem["loc"])
        raise ProfileError(
            complaint(problem, "field"),
            where=f"{file}: {path}" if path else str(file),
            hint=_hint(problem),
        ) from error


def _hint(problem: Any) -> str:
    field = str(problem["loc"][-1]) if problem["loc"] else ""
    inside = problem["loc"][:1] == ("interconnect",) and len(problem["loc"]) > 1
    fields = Interconnect.model_fields if inside else GpuProfile.model_fields
    if problem["type"] == "extra_forbidden":
        return did_you_mean(field, fields) or "known: " + ", ".join(fields)
    described = fields.get(field)
    if described is not None and described.description:
        return f"{field} is in {described.description}"
    return _start_from()


def _start_from() -> str:
    return f"start from a copy of {shipped() / 'l4.yaml'}"
