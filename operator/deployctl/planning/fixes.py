"""What would make a refused service start: each change tried on the planner, and what it gives.

Ranked by what a change costs the user: accuracy first, then context, throughput, speed, images,
and at last other cards and more cards. Pure.
"""

import itertools
import math
from collections.abc import Iterator

from deployctl.hardware import all_profiles, slices_of
from deployctl.planning import fit
from deployctl.planning.context import ContextChoice, choose, fp8_planner
from deployctl.planning.plan import SHORT_REQUEST, Fix
from deployctl.planning.settings import UNTIMED, Sharding
from deployctl.planning.sharding import Planner, shardings
from deployctl.planning.tasks import blinding
from deployctl.units import GIB

_ACCURACY = "some accuracy: keys and values have 8 bits"
_SEQUENCES = (256, 128, 64, 32, 16, 8)


def fixes(planner: Planner, choice: ContextChoice) -> tuple[Fix, ...]:
    """Every change that lets this start, the cheapest for the user first.

    `planner` has the spec as it was given, `choice` what came closest.
    """
    if planner.profile.kind == "cpu":
        return tuple(_tried(_on_cpu(planner, choice)))
    found: list[Fix] = [
        *_tried(_memory(planner, choice)),
        *_first(_fewer_sequences(planner, choice)),
        *_tried(_untimed(planner, choice)),
        *_tried(_eager(planner)),
        *_tried(_blind(planner)),
    ]
    if not found:
        found = [*_first(_together(planner))]
    found += [*_tried(_cards(planner)), *_first(_more(planner, choice))]
    if not any(way.gpu != planner.profile.name or way.gpus > 1 for way in found):
        found += _first(_elsewhere(planner, choice))
    return (*found, *_tried(_below(planner, choice)))


def shortlist(ways: tuple[Fix, ...]) -> tuple[Fix, ...]:
    """The first, and the first of another kind: what a person is told at once."""
    others = (way for way in ways if way.change.split()[0] != ways[0].change.split()[0])
    return (*ways[:1], *itertools.islice(others, 1))


_Change = tuple[str, str, Planner]  # flags, cost, what is planned with them


def _tried(changes: Iterator[_Change]) -> Iterator[Fix]:
    """Those that let it start."""
    for flags, cost, planner in changes:
        choice = choose(planner)
        memory = choice.memory
        sharding = memory.settings.sharding
        if not choice.planner.runs(sharding) or any(fit.refusals(choice)):
            continue
        if choice.fp8 and "fp8" not in flags:
            flags += " --kv-cache-dtype fp8"
            cost += f"; {_ACCURACY}"
        yield Fix(
            change=flags,
            cost=cost,
            gpu=planner.profile.name,
            gpus=sharding.gpus,
            max_model_len=memory.settings.length,
            max_concurrency=round(memory.concurrency, 2),
            concurrency_2048=round(memory.concurrency_at(SHORT_REQUEST), 2),
            kv_cache_gib=round(memory.pool / GIB, 4),
        )


def _first(changes: Iterator[_Change]) -> Iterator[Fix]:
    """The first that lets it start; those behind it are not planned."""
    return itertools.islice(_tried(changes), 1)


def _memory(planner: Planner, choice: ContextChoice) -> Iterator[_Change]:
    """Changes of what the KV cache is to hold."""
    eight = None if choice.chosen else fp8_planner(planner)
    if eight is not None:
        yield "--kv-cache-dtype fp8", _ACCURACY, eight
    yield from _shorter(planner, choice)
    yield from _fewer_users(planner, choice)


def _untimed(planner: Planner, choice: ContextChoice) -> Iterator[_Change]:
    """Without the copy of the embedding that a first start makes to time kernels."""
    rest = planner.spec.engine_args
    if choice.memory.tightest.compiling > 0 and "compilation_config" not in rest:
        untimed = planner.given(engine_args={**rest, "compilation_config": UNTIMED})
        cost = "speed, perhaps: kernels are joined without being timed"
        yield f"--engine-arg compilation_config='{UNTIMED}'", cost, untimed


def _eager(planner: Planner) -> Iterator[_Change]:
    if not planner.spec.enforce_eager:
        eager = planner.given(enforce_eager=True)
        yield "--enforce-eager", "speed: no CUDA graphs, no torch.compile", eager


def _blind(planner: Planner) -> Iterator[_Change]:
    """Text alone: without the vision tower, and the images that a start-up makes for it."""
    without = blinding(planner.settings(Sharding()).version)
    if without and planner.shape.vision is not None and not planner.shape.text_alone:
        flags, arguments = without
        blind = planner.given(engine_args={**planner.spec.engine_args, **arguments})
        yield flags, "no images or videos", blind


def _shorter(planner: Planner, choice: ContextChoice) -> Iterator[_Change]:
    """A context as the plan would choose it; below the least that is chosen, what there is."""
    if choice.chosen:
        return
    length = choice.memory.settings.length
    free = planner.given(max_model_len=None).up_to(length)
    found = choose(free if planner.spec.kv_cache_dtype else free.given(kv_cache_dtype="auto"))
    if found.holds:
        yield _context_change(found.planner)
    else:
        yield from _what_there_is(planner, choice)


def _below(planner: Planner, choice: ContextChoice) -> Iterator[_Change]:
    """A context shorter than the least that is chosen: the last that a user wants."""
    if choice.chosen:
        yield from _what_there_is(planner, choice)


def _what_there_is(planner: Planner, choice: ContextChoice) -> Iterator[_Change]:
    stage, length = choice.memory.tightest, choice.memory.settings.length
    longest = stage.layout.longest(stage.pool / (planner.spec.users or 1), length)
    # So little context for each of several users is no use to any of them.
    if 0 < longest < length and not planner.spec.users:
        yield _context_change(choice.planner.given(max_model_len=longest))


def _context_change(planner: Planner) -> _Change:
    flags = f"--max-model-len {planner.spec.max_model_len}"
    if planner.spec.kv_cache_dtype not in (None, "auto"):
        flags += f" --kv-cache-dtype {planner.spec.kv_cache_dtype}"
    return flags, "longer requests are refused", planner


def _fewer_users(planner: Planner, choice: ContextChoice) -> Iterator[_Change]:
    held = int(choice.memory.concurrency) if choice.memory.fits else 0
    if planner.spec.users is not None and 0 < held < planner.spec.users:
        yield f"--users {held}", "the others wait", planner.given(users=held)


def _fewer_sequences(planner: Planner, choice: ContextChoice) -> Iterator[_Change]:
    """Fewer sequences, the most first."""
    now = choice.memory.settings.batch.sequences
    for number in _SEQUENCES:
        if number < now:
            fewer = planner.given(max_num_seqs=number)
            yield f"--max-num-seqs {number}", "throughput: more requests wait", fewer


def _together(planner: Planner) -> Iterator[_Change]:
    """Several changes that do together what none does alone."""
    for flags, cost, blind in _blind(planner):
        # What is embedded outside of what is compiled with images is inside of it without them.
        for more, lost, both in _untimed(blind, choose(blind)):
            yield f"{flags} {more}", f"{cost}; {lost}", both
    flags, cost = f"--max-num-seqs {_SEQUENCES[-1]} --enforce-eager", "throughput and speed"
    both = planner.given(max_num_seqs=_SEQUENCES[-1], enforce_eager=True)
    yield flags, cost, both
    eight = None if planner.spec.max_model_len is None else fp8_planner(both)
    if eight is not None:
        yield f"{flags} --kv-cache-dtype fp8", f"{cost}; {_ACCURACY}", eight
    for more, lost, blind in _blind(both):
        yield f"{flags} {more}", f"{cost}; {lost}", blind


def _cards(planner: Planner) -> Iterator[_Change]:
    """Cards and slices with more memory, the cheapest first."""
    larger = [
        profile
        for profile in (*all_profiles(), *slices_of(planner.profile))
        if profile.kind == "cuda" and profile.memory_gib > planner.profile.memory_gib
    ]
    larger.sort(key=lambda p: (p.price_per_hour_usd or math.inf, p.memory_gib))
    for profile in larger:
        price = profile.price_per_hour_usd
        other = "another slice" if profile.slice else "another card"
        cost = f"{other}, ${price:.2f} an hour" if price else other
        yield f"--gpu {profile.name}", cost, planner.on(profile).given(gpu=profile.name)


def _more(planner: Planner, choice: ContextChoice) -> Iterator[_Change]:
    """Larger splits of one host, had the user the GPUs, the least first."""
    spec, host = planner.spec, planner.profile.max_per_host
    free = {"tensor_parallel_size": None, "pipeline_parallel_size": None}
    wide = planner.given(gpus=max(spec.gpus, host), **free)
    now = choice.memory.settings.sharding.gpus
    for option in shardings(wide.spec, planner.shape, planner.profile):
        if option.gpus <= now:
            continue
        replicas = spec.replicas or 1
        flags = f"--gpus {option.gpus * replicas} --tensor-parallel-size {option.tensor}"
        if option.pipeline > 1:
            flags += f" --pipeline-parallel-size {option.pipeline}"
        split = planner.given(
            gpus=option.gpus * replicas,
            tensor_parallel_size=option.tensor,
            pipeline_parallel_size=option.pipeline,
        )
        yield flags, f"{option.gpus} GPUs in the place of {now}", split


def _elsewhere(planner: Planner, choice: ContextChoice) -> Iterator[_Change]:
    """Several of another card, where neither alone does: the cheapest together first."""
    spec, shape = planner.spec, planner.shape
    free = {"tensor_parallel_size": None, "pipeline_parallel_size": None}
    weights = choice.memory.load_peak * choice.memory.settings.sharding.gpus
    found = []
    for profile in all_profiles():
        if profile.kind != "cuda" or profile.name == planner.profile.name:
            continue
        host = profile.max_per_host
        moved = planner.on(profile).given(gpu=profile.name, gpus=host, **free)
        for option in shardings(moved.spec, shape, profile):
            fair = option.pipeline == 1 and option.tensor > 1
            if fair and weights / option.tensor < profile.memory_gib * GIB:
                price = (profile.price_per_hour_usd or math.inf) * option.gpus
                found.append((price, option.gpus, profile.name, moved))
    for price, gpus, name, moved in sorted(found, key=lambda one: one[:3]):
        count = gpus * (spec.replicas or 1)
        cost = f"{gpus} of another card"
        if price < math.inf:
            cost += f", ${price:.2f} an hour"
        change = f"--gpu {name} --gpus {count} --tensor-parallel-size {gpus}"
        yield change, cost, moved.given(gpus=count, tensor_parallel_size=gpus)


def _on_cpu(planner: Planner, choice: ContextChoice) -> Iterator[_Change]:
    yield from _shorter(planner, choice)
    yield from _below(planner, choice)
    yield from _fewer_users(planner, choice)
    needed = choice.memory.request_bytes * (planner.spec.users or 1)
    gib = int(needed // GIB) + 1
    yield f"--kv-cache-gib {gib}", "memory of the host", planner.given(kv_cache_gib=float(gib))
