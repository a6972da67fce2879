"""What one service takes of a card, at a share of its memory.

An engine takes more than its `gpu_memory_utilization`: its CUDA context is there before vLLM looks
at the card, graphs that a version does not count and the sampler's warm-up come on top of the
budget, and a load fragments memory. vLLM starts only where the whole share is free
(v1/worker/utils.py, request_memory), and counts what others take while it profiles as its own;
what they free then ends it (v1/worker/gpu_worker.py). So a card holds engines that start one at a
time, and whose footprints, not shares, add up to no more than it has.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from deployctl.engines.vllm.versions import behaviour
from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.planning import fit
from deployctl.planning.budget import CONTEXT_GIB, edge_gib
from deployctl.planning.context import choose
from deployctl.planning.fleet.taken import OUTSIDE_GIB, Taken, of_host
from deployctl.planning.make import make_plan
from deployctl.planning.plan import ServingPlan
from deployctl.planning.settings import fold
from deployctl.planning.shape import shape_of
from deployctl.planning.sharding import Planner
from deployctl.planning.tasks import deaf, text_alone
from deployctl.spec import ServiceSpec
from deployctl.units import GIB


class Need(NamedTuple):
    """A service on one kind of card."""

    plan: ServingPlan  # of the service alone
    spec: ServiceSpec  # with the split of that plan
    cards: int  # that it needs
    least: int  # per cent of a card's memory with which it does; 0: on a CPU
    most: int  # per cent that it may have; less than `least`: it fits nowhere
    at: Callable[[int], Taken]  # what it takes with so many per cent

    @property
    def fits(self) -> bool:
        """Whether it does on a card of its own."""
        return self.plan.verdict == "fits" and self.least <= self.most


def need_of(spec: ServiceSpec, facts: ModelFacts, profile: GpuProfile) -> Need:
    """Plans the service alone, and finds the least share of such a card that is enough."""
    spec = spec.model_copy(update={"gpu": profile.name})
    plan = make_plan(spec, facts, profile, advise=False)
    if profile.kind == "cpu":
        return Need(plan, spec, 1, 0, 0, lambda _: of_host(plan))
    split = {"tensor_parallel_size": plan.tensor_parallel_size, "replicas": plan.replicas}
    split["pipeline_parallel_size"] = plan.pipeline_parallel_size
    cards = plan.world_size * plan.replicas
    spec = spec.model_copy(update={**split, "gpus": cards}) if cards > 1 else spec
    folded, _ = fold(spec)
    said = folded.gpu_memory_utilization
    default = float(behaviour("gpu_memory_utilization", plan.engine.version))
    most = math.ceil(round(100 * (said or default), 6))
    if facts.architecture is None or plan.verdict != "fits":
        return Need(plan, spec, cards, most + 1, most, lambda _: Taken(False, 0, 0, 0))
    at = _taker(folded, facts, profile, most)
    if said is not None:  # the share that the user says is as it is
        return Need(plan, spec, cards, most, most, at)
    return Need(plan, spec, cards, _least(at, most), most, at)


def _least(at: Callable[[int], Taken], most: int) -> int:
    """The least per cent that is enough; it is looked for between halves."""
    low, high = 0, most  # low is not enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if at(middle).fits else (middle, high)
    return high if at(high).fits else most + 1


def _taker(
    spec: ServiceSpec, facts: ModelFacts, profile: GpuProfile, most: int
) -> Callable[[int], Taken]:
    assert facts.architecture is not None
    shape = shape_of(facts.architecture, text_alone=text_alone(spec), deaf=deaf(spec))
    planner = Planner(spec, facts, profile, shape)

    @cache
    def at(per_cent: int) -> Taken:
        choice = choose(planner.given(gpu_memory_utilization=per_cent / 100))
        memory = choice.memory
        fits = choice.holds and not any(fit.refusals(choice))
        # Another start may find a little less: a share is not cut so close, where there is more.
        margin = memory.margin(spec.users or 1) / GIB
        fits = fits and (per_cent == most or margin >= edge_gib(max(0.0, memory.pool) / GIB))
        held = max(memory.requested, memory.started(), memory.started(later=True))
        footprint = held / GIB + OUTSIDE_GIB
        peak = max(footprint, memory.load_peak / GIB + CONTEXT_GIB)
        return Taken(fits, footprint, peak, memory.pool / GIB)

    return at
