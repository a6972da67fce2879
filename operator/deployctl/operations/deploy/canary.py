"""Whether there is room to try a revision beside the one that serves, and where."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from deployctl import host
from deployctl.errors import PortTakenError, TargetError

if TYPE_CHECKING:
    from deployctl.hardware.nvidia_smi import Card
    from deployctl.operations.prepare import Prepared
    from deployctl.planning.plan import ServingPlan
    from deployctl.render.bundle import TargetKind

Beside = Literal["auto", "yes", "no"]
# What an engine on a CPU takes beside weights, KV cache and activations: interpreter, torch,
# compiler. vLLM 0.32 with a 16 MB model: 1.9 GiB resident.
ENGINE_GIB = 2.5
# vLLM binds every engine of one rank to the same first cores: with fewer than these, to one or two,
# where the engine that is asked starves the one that starts.
CORES = 4
PORTS = 100  # above the service's own, that a candidate may take one of
SPARE = 0.9  # share of the free memory that may be counted on


class Choice(NamedTuple):
    """Where a revision is tried, and why there."""

    beside: bool
    why: str
    cards: str | None = None  # for CUDA_VISIBLE_DEVICES


def choose(asked: Beside, prepared: "Prepared", *, watch: bool, serving: bool) -> Choice:
    """Decides. `serving`: whether an older revision runs; `watch`: whether users are watched.

    Raises:
        TargetError: it is to be beside, and there is no room.
    """
    if not serving:
        return Choice(False, "nothing serves that it could run beside")
    if watch:
        return Choice(False, "a candidate has no users to be watched")
    if asked == "no":
        return Choice(False, "as asked for")
    found = room(prepared.plan, prepared.spec.target or "process", forced=asked == "yes")
    if asked == "yes" and not found.beside:
        raise TargetError(
            f"there is no room for two: {found.why}",
            where="--beside yes",
            hint="--beside no replaces the old revision, and brings it back if need be",
        )
    return found


def room(plan: "ServingPlan", kind: "TargetKind", *, forced: bool = False) -> Choice:
    """Looks for room: memory and cores for a second engine, or GPUs that nobody uses."""
    if kind == "docker" and os.environ.get("DOCKER_HOST", "").startswith(("tcp:", "ssh:")):
        return Choice(False, "how much room another host has cannot be told")
    if plan.accelerator == "cpu":
        memory = host.memory()
        free_gib = memory.available_gib if memory else None
        return on_cpu(plan, free_gib, host.cores(), forced=forced)
    return on_gpu(plan, _cards(plan.gpu))


def on_cpu(
    plan: "ServingPlan", free_gib: float | None, cores: int, *, forced: bool = False
) -> Choice:
    """By the plan's memory, and what the host has available; and by its cores, unless it is
    `forced`: too few make a trial slow, not impossible. Pure."""
    memory = plan.memory
    if memory is None or free_gib is None:
        return Choice(False, "how much memory it needs, or is free, cannot be told")
    need = ENGINE_GIB + memory.weights_gib + memory.kv_cache_gib + memory.activation_gib
    need *= plan.tensor_parallel_size  # a process and its share each
    told = f"it needs about {need:.1f} GiB, and {free_gib:.1f} GiB are available"
    if need > free_gib * SPARE:
        return Choice(False, told)
    if cores < CORES and not forced:
        return Choice(False, f"two engines on {cores} cores starve each other")
    return Choice(True, told)


def on_gpu(plan: "ServingPlan", cards: "Sequence[Card]") -> Choice:
    """By the GPUs that have as much memory free as the engine asks for. Pure."""
    count = plan.world_size
    need = plan.memory.budget_gib if plan.memory else None
    if need is None:
        return Choice(False, "how much memory it needs cannot be told")
    free = [
        str(card.index)
        for card in cards
        if card.index is not None and (card.memory_free_mib or 0) / 1024 >= need
    ]
    told = f"it needs {count} GPU{'s' if count > 1 else ''} with {need:.1f} GiB free"
    if len(free) < count:
        return Choice(False, f"{told}, and there {'is' if len(free) == 1 else 'are'} {len(free)}")
    return Choice(True, f"{told}: {', '.join(free[:count])}", ",".join(free[:count]))


def free_port(after: int) -> int:
    """The first port above `after` that nobody listens on: near, and none that the kernel hands
    to outgoing connections where the service's own is not.

    Raises:
        PortTakenError: none of the next hundred is free.
    """
    try:
        return host.free_port(after, within=PORTS)
    except PortTakenError as error:
        raise PortTakenError(
            f"{error.message} for a candidate",
            where="--beside",
            hint="use --beside no, or another --port",
        ) from error


def _cards(gpu: str) -> "list[Card]":
    """This host's cards that could be `gpu`, as far as CUDA_VISIBLE_DEVICES leaves them."""
    from deployctl.doctor import detect

    cards = detect.visible(detect.ask_gpus(thorough=False).cards, os.environ)
    known = [(card, detect.match(card.name or "")) for card in cards if not card.mig]
    return [card for card, profile in known if profile is None or profile.name == gpu]
