"""Whether there is room for a new release next to the one that serves: for its canary, or for
itself until it takes over, behind a gateway.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from deployctl import host, targets
from deployctl.doctor.shell import away
from deployctl.errors import InputError, PortTakenError, TargetError
from deployctl.hardware.nvidia import Card
from deployctl.operations.deploy.oncards import yet_to_take
from deployctl.operations.deploy.request import When
from deployctl.operations.prepare import Prepared
from deployctl.planning.fleet.taken import CPU_ENGINE_GIB, OUTSIDE_GIB
from deployctl.planning.plan import ServingPlan
from deployctl.render.bundle import CARDS_VARIABLE
from deployctl.render.gateway import entry_of
from deployctl.spec import TargetKind
from deployctl.spec.settings import Settings
from deployctl.targets.driver import EngineState, Room
from deployctl.targets.history import Release
from deployctl.targets.readiness import Takeover
from deployctl.units import GIB

# vLLM binds every engine of one rank to the same first cores: with fewer than these, to one or two,
# where the engine that is asked starves the one that starts.
CORES = 4
SAID_GIB = 0.1  # of what others are yet to take, for it to be worth a word
SPARE = 0.9  # share of the free memory that may be counted on
_UNKNOWN = "the free memory of another host is unknown"


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
        hint = "--beside no replaces the old revision, and brings it back if need be"
        raise _no_room(f"a canary: {placement.why}", hint)
    return placement


def _no_room(said: str, hint: str) -> TargetError:
    return TargetError(f"there is no room for {said}", where="--beside yes", hint=hint)


def room(plan: ServingPlan, target: TargetKind, *, forced: bool = False) -> Placement:
    """Looks for room where the engine is: memory and cores for a second one, or GPUs that nobody
    uses."""
    if _unasked(target):
        return Placement(False, _UNKNOWN)
    if plan.accelerator == "cpu":
        return on_cpu(plan, *_free(target), forced=forced)
    return on_gpu(plan, _cards_like(plan.gpu, target))


def _unasked(target: TargetKind) -> bool:
    """Whether it is on another host that answers for Docker alone, by DOCKER_HOST or a context."""
    return target == "docker" and not away(os.environ) and bool(targets.place(target, Settings()))


def _free(target: TargetKind) -> tuple[float | None, int]:
    """The memory in GiB that is available where a target's engines run, and its cores; as far as
    that is known. The Docker engine may be in a virtual machine on this one."""
    from deployctl.doctor import machine

    if target == "docker" and not away(os.environ):
        from deployctl.targets.docker.engine import here
        from deployctl.targets.docker.running import memory_there

        engine = here()
        there = host.read_memory(memory_there(engine))
        return there.available_gib if there else None, engine.cpus()
    on = machine.of(target)
    return on.memory.available_gib if on.memory else None, on.cores or 1


def on_cpu(
    plan: ServingPlan, free_gib: float | None, cores: int, *, forced: bool = False
) -> Placement:
    """By the plan's memory, and what the host has available; and by its cores, unless it is
    `forced`: too few make a trial slow, not impossible. Pure."""
    need = _on_cpu_gib(plan)
    if need is None or free_gib is None:
        return Placement(False, "the memory that it needs or that is free is unknown")
    why = f"it needs about {need:.1f} GiB, and {free_gib:.1f} GiB are available"
    if need > free_gib * SPARE:
        return Placement(False, why)
    if cores < CORES and not forced:
        return Placement(False, f"two engines on {cores} cores starve each other")
    return Placement(True, why)


def _on_cpu_gib(plan: ServingPlan) -> float | None:
    """What an engine takes of the host's memory, once all of its KV cache is in use."""
    memory = plan.memory
    if memory is None:
        return None
    need = CPU_ENGINE_GIB + memory.weights_gib + memory.kv_cache_gib + memory.activation_gib
    return need * plan.tensor_parallel_size  # a process and its share each


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


def beside(asked: When, target: TargetKind) -> Takeover:
    """How a new release may come up next to the one that serves, as `takeover` has it."""
    return Takeover(asked == "yes", partial(takeover, asked, target))


def takeover(
    asked: When, target: TargetKind, old: Release, state: EngineState, new: Release
) -> Room:
    """Whether `new` has room where `old` runs, in that `state`, until it has taken over.

    Raises:
        TargetError: it is asked for, and there is none.
    """
    if asked == "no":
        return Room(False, "as asked for")
    if _unasked(target):
        room = Room(False, _UNKNOWN)
    else:
        room = _room_for_both(old, state, new, target, forced=asked == "yes")
    if asked == "yes" and not room.free:
        hint = "--beside no replaces the old one, and requests wait meanwhile"
        raise _no_room(f"two engines: {room.why}", hint)
    return room


def _room_for_both(
    old: Release, state: EngineState, new: Release, target: TargetKind, *, forced: bool
) -> Room:
    """By what is free now, without what others are about to take of it."""
    others = yet_to_take(new, target)
    taken_gib = sum(others.values())
    if new.plan.accelerator == "cpu":
        held_gib, (free_gib, cores) = (state.memory_bytes or 0) / GIB, _free(target)
        left_gib = None if free_gib is None else max(0.0, free_gib - taken_gib)
        room = both_on_cpu(old.plan, held_gib, new.plan, left_gib, cores, forced=forced)
    else:
        cards = [_without(taken_gib, card) for card in _cards_of(new.plan, target)]
        room = both_on_cards(old.plan, new.plan, cards)
    if taken_gib < SAID_GIB:
        return room
    are = "is" if len(others) == 1 else "are"
    said = f"{', '.join(sorted(others))} {are} yet to take {taken_gib:.1f} GiB"
    return room._replace(why=f"{room.why}: {said}")


def _without(taken_gib: float, card: Card) -> Card:
    free = card.memory_free_mib
    return card if free is None else replace(card, memory_free_mib=int(free - taken_gib * 1024))


def refuse_no_gateway(release: Release) -> None:
    """Refuses to have a release come up beside the one that serves, where nothing leads requests
    from one to the other.

    Raises:
        InputError: it is behind no gateway.
    """
    if entry_of(release.bundle) is None:
        raise InputError(
            f"revision {release.revision} of {release.service} is behind no gateway",
            where="--beside yes",
            hint="leave it out: what serves is replaced",
        )


def both_on_cpu(
    old: ServingPlan,
    held_gib: float,
    new: ServingPlan,
    free_gib: float | None,
    cores: int,
    *,
    forced: bool = False,
) -> Room:
    """As `on_cpu`, of what is free once `old`, which has `held_gib`, has all that it is going to
    have. Pure."""
    most = _on_cpu_gib(old) if old.accelerator == "cpu" else 0.0
    if most is None or free_gib is None:
        return Room(False, "the memory that both need or that is free is unknown")
    left_gib = max(0.0, free_gib - max(0.0, most - held_gib))
    placement = on_cpu(new, left_gib, cores, forced=forced)
    return Room(placement.canary, placement.why)


def both_on_cards(old: ServingPlan, new: ServingPlan, cards: Sequence[Card]) -> Room:
    """By the shares of a card that both have, where they are on the same, and by what is free of
    the `cards` of `new` now: `old` has its share already, and others may have theirs. Pure."""
    free = [card.memory_free_mib for card in cards if not card.mig]
    known = [mib for mib in free if mib is not None]
    if new.memory is None or old.memory is None or len(known) < new.world_size:
        return Room(False, "the memory that it needs or that is free is unknown")
    one, other = (each.budget_gib / each.gpu_total_gib for each in (old.memory, new.memory))
    if old.accelerator == new.accelerator and _named(old) == _named(new) and one + other > 1:
        return Room(False, f"they have {one:.2f} and {other:.2f} of a card's memory")
    need, least = new.memory.budget_gib + OUTSIDE_GIB, min(known) / 1024
    why = f"it needs {need:.1f} GiB of a card, and {least:.1f} GiB are free"
    return Room(least >= need, why)


def _cards_of(plan: ServingPlan, target: TargetKind) -> list[Card]:
    """Those of its host that an engine gets: a container the first ones, whatever a shell says."""
    named, shell = _named(plan), os.environ if target == "process" else {}
    environ = shell if named is None else {CARDS_VARIABLE: named}
    return _visible(environ, target)[: plan.world_size]


def _named(plan: ServingPlan) -> str | None:
    return plan.engine.env.get(CARDS_VARIABLE)


def port(after: int, target: TargetKind) -> int:
    """A free port near the service's own, `after`, where the target's engines run: none that the
    kernel hands to outgoing connections where the service's own is not.

    Raises:
        PortTakenError: none of the next hundred is free.
    """
    from deployctl.doctor import machine

    there = machine.of(target).ports
    try:
        return host.free_port(after, taken=there)
    except PortTakenError as error:
        error.where, error.hint = "--beside", "use --beside no, or another --port"
        raise


def _visible(environ: Mapping[str, str], target: TargetKind) -> list[Card]:
    """The cards that a target's engines can have, as far as an environment leaves them."""
    from deployctl.doctor import detect, shell

    on_it = shell.there(shell.run, os.environ) if target == "docker" else shell.run
    return detect.visible(detect.ask_gpus(on_it, thorough=False).cards, environ)


def _cards_like(gpu: str, target: TargetKind) -> list[Card]:
    """Those that could be `gpu`, as far as CUDA_VISIBLE_DEVICES leaves them."""
    from deployctl.doctor import detect

    cards = _visible(os.environ, target)
    known = [(card, detect.match(card.name or "")) for card in cards if not card.mig]
    return [card for card, profile in known if profile is None or profile.name == gpu]
