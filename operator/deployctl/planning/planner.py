"""Measures and checks one sharding after another for the same wish. Pure."""

from dataclasses import replace

from deployctl.errors import Reason
from deployctl.hardware import GpuProfile, all_profiles
from deployctl.model import ModelFacts
from deployctl.planning import checks, fit, kernels, parallel
from deployctl.planning.budget import Memory, Setting, memory, sharded_weights
from deployctl.planning.kvcache import BLOCK_TOKENS, CPU_BLOCK_TOKENS
from deployctl.planning.settings import Settings, offloaded, resolve
from deployctl.planning.shape import Shape
from deployctl.planning.weights import Sharding
from deployctl.spec import ServiceSpec


class Planner:
    """Keeps the wish: what is wanted, of which checkpoint, on which card."""

    def __init__(
        self, spec: ServiceSpec, facts: ModelFacts, profile: GpuProfile, shape: Shape
    ) -> None:
        self.spec, self.facts, self.profile, self.shape = spec, facts, profile, shape

    def settings(self, sharding: Sharding) -> Settings:
        """What the engine is told under this sharding."""
        world = sharding.tensor * sharding.pipeline
        return resolve(self.spec, self.facts, self.profile, world)

    def measure(self, sharding: Sharding) -> Memory:
        """The memory of one GPU under this sharding."""
        settings = self.settings(sharding)
        facts = self.facts.model_copy(update={"quantization": settings.quantization})
        # The CPU's MLA kernel knows blocks of 16 alone (vllm/platforms/cpu.py).
        wide = self.profile.kind == "cpu" and not self.shape.latent
        default = CPU_BLOCK_TOKENS if wide else BLOCK_TOKENS
        setting = Setting(
            version=settings.version,
            sharding=sharding,
            batch=settings.batch,
            length=settings.length,
            utilization=settings.utilization,
            dtype=settings.dtype,
            kv_cache_dtype=settings.kv_cache_dtype,
            eager=settings.eager,
            hybrid=settings.hybrid,
            block_tokens=settings.block_tokens or default,
            kv_cache_bytes=settings.kv_cache_bytes,
            environment=self.spec.env,
            graph_limit=settings.graph_limit,
            offload=offloaded(settings.rest) if self.profile.kind == "cuda" else 0.0,
        )
        found = memory(facts, self.shape, self.profile, setting)
        if settings.online:
            whole = sharded_weights(self.facts, self.shape, self.profile, setting)
            found = replace(found, load_peak=whole * fit.ONLINE_LOAD)
        return found

    def shape_findings(self, sharding: Sharding) -> list[Reason]:
        """What about the model's shape forbids this sharding."""
        settings = self.settings(sharding)
        whole = kernels.whole_experts(settings)
        found = list(checks.parallel(self.shape, sharding, whole_experts=whole))
        if not found or found[0].code != "heads_not_divisible":
            found += kernels.findings(self.shape, settings, self.profile, sharding)
        return found

    def runs(self, sharding: Sharding) -> bool:
        """Whether the model's shape allows this sharding."""
        return not self.shape_findings(sharding)

    def cards_for(self, sharding: Sharding) -> list[str]:
        """Names the shipped profiles on which this sharding would fit, smallest first."""
        found = []
        for profile in sorted(all_profiles(), key=lambda p: p.memory_gib):
            if profile.kind != "cuda" or profile.memory_gib <= self.profile.memory_gib:
                continue
            other = Planner(self.spec, self.facts, profile, self.shape)
            memory = other.measure(sharding)
            enough = memory.fits and memory.concurrency >= (self.spec.users or 1)
            if enough and memory.load_peak < memory.total and other.runs(sharding):
                found.append(profile.name)
        return found

    def larger_than(self, sharding: Sharding) -> Sharding | None:
        """The smallest sharding of one host that would fit, had the user the GPUs."""
        host = self.profile.max_per_host
        wish = self.spec.model_copy(
            update={
                "gpus": max(self.spec.gpus, host),
                "tensor_parallel_size": None,
                "pipeline_parallel_size": None,
            }
        )
        for option in parallel.candidates(wish, self.shape, host):
            if option.tensor * option.pipeline <= sharding.tensor * sharding.pipeline:
                continue
            found = self.measure(option)
            enough = found.concurrency >= (self.spec.users or 1)
            if found.load_peak < found.total and found.fits and enough and self.runs(option):
                return option
        return None
