"""Measures and checks one sharding of a model after another, and chooses. Pure.

What is chosen is the smallest tensor-parallel size that does.
"""

from collections.abc import Iterator

from deployctl.errors import Reason
from deployctl.hardware import GpuProfile, all_profiles
from deployctl.model import ModelFacts
from deployctl.planning import checks, kernels
from deployctl.planning.budget import Memory, memory
from deployctl.planning.settings import EngineSettings, Sharding, resolve
from deployctl.planning.shape import Shape
from deployctl.spec import ServiceSpec


class Planner:
    """Knows what is planned: what is wanted, of which checkpoint, on which card."""

    def __init__(
        self, spec: ServiceSpec, facts: ModelFacts, profile: GpuProfile, shape: Shape
    ) -> None:
        self.spec, self.facts, self.profile, self.shape = spec, facts, profile, shape

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

    def choose(self) -> Memory:
        """The first sharding that fits and holds the users, or the one that comes closest."""
        best: Memory | None = None
        for sharding in shardings(self.spec, self.shape, self.profile.max_per_host):
            measured = self.measure(sharding)
            if not self._runs(sharding):
                best = best or measured
            elif self._holds(measured):
                return measured
            elif best is None or not self._runs(best.settings.sharding) or _closer(measured, best):
                best = measured
        assert best is not None
        return best

    def cards_for(self, sharding: Sharding) -> list[str]:
        """Names the shipped profiles on which this sharding would fit, smallest first."""
        larger = [p for p in all_profiles() if p.memory_gib > self.profile.memory_gib]
        planners = [
            Planner(self.spec, self.facts, profile, self.shape)
            for profile in sorted(larger, key=lambda p: p.memory_gib)
            if profile.kind == "cuda"
        ]
        return [planner.profile.name for planner in planners if planner._fits(sharding)]

    def larger_than(self, sharding: Sharding) -> Sharding | None:
        """The smallest sharding of one host that would fit, had the user the GPUs."""
        host = self.profile.max_per_host
        free = self.spec.model_copy(
            update={
                "gpus": max(self.spec.gpus, host),
                "tensor_parallel_size": None,
                "pipeline_parallel_size": None,
            }
        )
        options = shardings(free, self.shape, host)
        larger = (option for option in options if option.gpus > sharding.gpus)
        return next((option for option in larger if self._fits(option)), None)

    def _runs(self, sharding: Sharding) -> bool:
        return not self.shape_reasons(sharding)

    def _holds(self, measured: Memory) -> bool:
        """Whether it fits, and the users with it."""
        return measured.fits and measured.concurrency >= (self.spec.users or 1)

    def _fits(self, sharding: Sharding) -> bool:
        """Whether all is well with this sharding, loading included."""
        measured = self.measure(sharding)
        loads = measured.load_peak < measured.total
        return loads and self._holds(measured) and self._runs(sharding)


def shardings(spec: ServiceSpec, shape: Shape, per_host: int) -> Iterator[Sharding]:
    """Yields what may be tried, fewest GPUs first; only what the user fixed when he did."""
    tensor, pipeline = spec.tensor_parallel_size, spec.pipeline_parallel_size
    if tensor is not None or pipeline is not None:
        if tensor is not None:
            yield Sharding(tensor, pipeline or 1)
            return
        stages = pipeline or 1
        for size in _sizes(shape, max(1, spec.gpus // stages), per_host):
            yield Sharding(size, stages)
        return
    sizes = list(_sizes(shape, spec.gpus, per_host))
    for size in sizes:
        yield Sharding(size, 1)
    # What heads or hosts do not allow, stages may.
    largest = sizes[-1] if sizes else 1
    stages = min(spec.gpus // largest, max(1, shape.layers), 64)
    for count in range(2, stages + 1):
        yield Sharding(largest, count)


def _sizes(shape: Shape, gpus: int, per_host: int) -> Iterator[int]:
    for size in range(1, min(gpus, per_host, max(1, shape.heads)) + 1):
        if shape.heads % size:
            continue
        if not shape.latent and shape.kv_heads % size and size % max(1, shape.kv_heads):
            continue
        yield size


def _closer(memory: Memory, other: Memory) -> bool:
    """Fitting beats not fitting; then the larger cache wins."""
    return (memory.fits, memory.concurrency, memory.pool) > (
        other.fits,
        other.concurrency,
        other.pool,
    )
