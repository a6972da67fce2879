"""Measures and checks a sharding of a model, and says which there are. Pure."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from deployctl.errors import Reason
from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.planning import checks, kernels
from deployctl.planning.budget import Memory, memory
from deployctl.planning.settings import EngineSettings, Sharding, resolve
from deployctl.planning.shape import Shape
from deployctl.planning.tasks import deaf, text_alone
from deployctl.spec import ServiceSpec


class Planner:
    """Knows what is planned: what is wanted, of which checkpoint, on which card."""

    def __init__(
        self,
        spec: ServiceSpec,
        facts: ModelFacts,
        profile: GpuProfile,
        shape: Shape,
        limit: int | None = None,
    ) -> None:
        """`limit`: the longest context that is chosen, instead of the model's own limit."""
        self.spec, self.facts, self.profile, self.shape = spec, facts, profile, shape
        own = facts.architecture.max_position_embeddings if facts.architecture else 0
        self.limit = min(limit or own, own)

    @property
    def least(self) -> int:
        """Tokens of the shortest context that is chosen."""
        return min(self.spec.min_model_len, self.limit)

    def given(self, **settings: Any) -> "Planner":
        """The same with other settings of the spec."""
        spec, shape = self.spec.model_copy(update=settings), self.shape
        if "engine_args" in settings:
            shape = replace(shape, text_alone=text_alone(spec), deaf=deaf(spec))
        return Planner(spec, self.facts, self.profile, shape, self.limit)

    def up_to(self, limit: int) -> "Planner":
        """The same, with a context of `limit` tokens at most where it is chosen."""
        return Planner(self.spec, self.facts, self.profile, self.shape, limit)

    def on(self, profile: GpuProfile) -> "Planner":
        """The same on another card."""
        return Planner(self.spec, self.facts, profile, self.shape, self.limit)

    def settings(self, sharding: Sharding) -> EngineSettings:
        """What the engine is told under this sharding."""
        return resolve(self.spec, self.facts, self.profile, sharding)

    def measure(self, sharding: Sharding) -> Memory:
        """The memory of one GPU under this sharding."""
        return memory(self.facts, self.shape, self.profile, self.settings(sharding))

    def shape_reasons(self, sharding: Sharding) -> list[Reason]:
        """What about the model's shape forbids this sharding."""
        settings = self.settings(sharding)
        reasons = list(checks.parallel(self.shape, settings))
        if not reasons or reasons[0].code != "heads_not_divisible":
            reasons += kernels.refusals(self.shape, settings, self.profile)
        return reasons

    def runs(self, sharding: Sharding) -> bool:
        """Whether the model's shape allows this sharding."""
        return not self.shape_reasons(sharding)

    def holds(self, measured: Memory, spare: float = 0.0) -> bool:
        """Whether it fits, and the users with it, when `spare` bytes of KV cache stay free."""
        stage, length = measured.tightest, measured.settings.length
        pool = stage.pool - spare
        if pool <= 0 or not stage.layout.holds(pool, length):
            return False
        return stage.layout.concurrency(pool, length) >= (self.spec.users or 1)


def shardings(spec: ServiceSpec, shape: Shape, profile: GpuProfile) -> Iterator[Sharding]:
    """Yields what may be tried, fewest GPUs first; only what the user fixed when he did.

    MIG slices do not reach each other, so nothing is split over them.
    """
    per_host, gpus = profile.max_per_host, 1 if profile.slice else spec.gpus
    tensor, pipeline = spec.tensor_parallel_size, spec.pipeline_parallel_size
    if tensor is not None or pipeline is not None:
        if tensor is not None:
            yield Sharding(tensor, pipeline or 1)
            return
        stages = pipeline or 1
        for size in _sizes(shape, max(1, gpus // stages), per_host):
            yield Sharding(size, stages)
        return
    sizes = list(_sizes(shape, gpus, per_host))
    for size in sizes:
        yield Sharding(size, 1)
    # What heads or hosts do not allow, stages may.
    largest = sizes[-1] if sizes else 1
    stages = min(gpus // largest, max(1, shape.layers), 64)
    for count in range(2, stages + 1):
        yield Sharding(largest, count)


def _sizes(shape: Shape, gpus: int, per_host: int) -> Iterator[int]:
    for size in range(1, min(gpus, per_host, max(1, shape.heads)) + 1):
        if shape.heads % size:
            continue
        if not shape.latent and shape.kv_heads % size and size % max(1, shape.kv_heads):
            continue
        yield size
