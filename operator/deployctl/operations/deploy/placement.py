"""Whether there is room for a canary: a new release next to the one that serves."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from deployctl import host
from deployctl.errors import PortTakenError, TargetError
from deployctl.hardware.nvidia import Card
from deployctl.operations.deploy.request import When
from deployctl.operations.prepare import Prepared
from deployctl.planning.fleet.need import CPU_ENGINE_GIB
from deployctl.planning.plan import ServingPlan
from deployctl.spec import TargetKind
from deployctl.targets.driver import Room

# vLLM binds every engine of one rank to the same first cores: with fewer than these, to one or two,
# where the engine that is asked starves the one that starts.
CORES = 4
SPARE = 0.9  # share of the free memory that may be counted on


class Placement(NamedTuple):
    """Where a new release is verified, and why there."""

    canary: bool  # next to the one that serves; else in its place
    why: str
    cards: str | None = None  # for CUDA_VISIBLE_DEVICES


def place(
    asked: When,
    prepared: Prepared,
    *,
    watch: bool,
    serving: bool,
    cluster: Callable[[], Room] | None = None,
) -> Placement:
    """Decides. `serving`: whether an older release runs; `watch`: whether users are watched;
    `cluster` looks for room where it is not this host's.

    Raises:
        TargetError: a canary is asked for, and there is no room.
    """
    if not serving:
        return Placement(False, "no other revision serves")
    if watch:
        return Placement(False, "a canary has no traffic to watch")
    if asked == "no":
        return Placement(False, "as asked for")
    if cluster is not None:
        placement = Placement(*cluster())
    else:
        placement = room(prepared.plan, prepared.target, forced=asked == "yes")
    if asked == "yes" and not placement.canary:
        raise TargetError(
            f"there is no room for a canary: {placement.why}",
            where="--beside yes",
            hint="--beside no replaces the old revision, and brings it back if need be",
        )
    return placement


def room(plan: ServingPlan, target: TargetKind, *, forced: bool = False) -> Placement:
    """Looks for room: memory and cores for a second engine, or GPUs that nobody uses."""
    if target == "docker" and os.environ.get("DOCKER_HOST", "").startswith(("tcp:", "ssh:")):
        return Placement(False, "the free memory of another host is unknown")
    if plan.accelerator == "cpu":
        memory = host.memory()
        free_gib = memory.available_gib if memory else None
        return on_cpu(plan, free_gib, host.cores(), forced=forced)
    return on_gpu(plan, _cards(plan.gpu))


def on_cpu(
    plan: ServingPlan, free_gib: float | None, cores: int, *, forced: bool = False
) -> Placement:
    """By the plan's memory, and what the host has available; and by its cores, unless it is
    `forced`: too few make a trial slow, not impossible. Pure."""
    memory = plan.memory
    if memory is None or free_gib is None:
        return Placement(False, "the memory that it needs or that is free is unknown")
    need = CPU_ENGINE_GIB + memory.weights_gib + memory.kv_cache_gib + memory.activation_gib
    need *= plan.tensor_parallel_size  # a process and its share each
    why = f"it needs about {need:.1f} GiB, and {free_gib:.1f} GiB are available"
    if need > free_gib * SPARE:
        return Placement(False, why)
    if cores < CORES and not forced:
        return Placement(False, f"two engines on {cores} cores starve each other")
    return Placement(True, why)


def on_gpu(plan: ServingPlan, cards: Sequence[Card]) -> Placement:
    """By the GPUs that have as much memory free as the engine asks for. Pure."""
    count = plan.world_size
    need = plan.memory.budget_gib if plan.memory else None
    if need is None:
        return Placement(False, "the memory that it needs is unknown")
    free = [
        str(card.index)
        for card in cards
        if card.index is not None and (card.memory_free_mib or 0) / 1024 >= need
    ]
    why = f"it needs {count} GPU{'s' if count > 1 else ''} with {need:.1f} GiB free"
    if len(free) < count:
        are = "is" if len(free) == 1 else "are"
        return Placement(False, f"{why}, and there {are} {len(free)}")
    return Placement(True, f"{why}: {', '.join(free[:count])}", ",".join(free[:count]))


def port(after: int) -> int:
    """A free port near the service's own, `after`: none that the kernel hands to outgoing
    connections where the service's own is not.

    Raises:
        PortTakenError: none of the next hundred is free.
    """
    try:
        return host.free_port(after)
    except PortTakenError as error:
        error.where, error.hint = "--beside", "use --beside no, or another --port"
        raise


def _cards(gpu: str) -> list[Card]:
    """This host's cards that could be `gpu`, as far as CUDA_VISIBLE_DEVICES leaves them."""
    from deployctl.doctor import detect

    cards = detect.visible(detect.ask_gpus(thorough=False).cards, os.environ)
    known = [(card, detect.match(card.name or "")) for card in cards if not card.mig]
    return [card for card, profile in known if profile is None or profile.name == gpu]
