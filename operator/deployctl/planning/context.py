"""The context and the split: as asked for, or the longest context that fits. Pure.

Where no context is asked for, the least split that holds the model's own limit is taken, else
the split that holds most. An FP8 KV cache is tried where the model's own dtype holds less than
the least that is planned (`min_model_len`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

from deployctl.planning import attention
from deployctl.planning.budget import Memory
from deployctl.planning.graphs import captures_nccl
from deployctl.planning.pages import cache_bytes
from deployctl.planning.plan import SearchStep
from deployctl.planning.settings import Sharding
from deployctl.planning.sharding import Planner, shardings
from deployctl.units import GIB

# A chosen context leaves this share of the KV cache free, and so many GiB at least: logged
# start-ups had 2.8% less than planned at the 90th percentile (benchmarks/memfit), and a driver
# of another version takes 0.1 GiB more.
SPARE_SHARE = 0.03
SPARE_GIB = 0.1
# Sequences that are tried where graphs for the engine's own 256 leave no room.
FEWER = 64
_COARSE, _FINE, _FINE_BELOW = 1024, 256, 16384  # tokens that a chosen context is a multiple of


@dataclass(frozen=True)
class ContextChoice:
    """A context and a split, and how they were found."""

    planner: Planner  # its spec says the context and the dtype of the KV cache
    memory: Memory
    steps: tuple[SearchStep, ...]
    chosen: bool = False  # nobody asked for this context
    fp8: bool = False  # nor for an FP8 KV cache
    fewer: bool = False  # nor for so few sequences
    unread: bool = False  # the checkpoint did, and no kernel reads one here

    @property
    def holds(self) -> bool:
        """Whether the engine starts, and holds the users."""
        return self.planner.holds(self.memory)


def choose(planner: Planner) -> ContextChoice:
    """The first split that does, or the one that comes closest."""
    own = _readable(planner)
    unread = own is not planner
    if own.spec.max_model_len is not None:
        steps: list[SearchStep] = []
        return ContextChoice(own, _given(own, steps), tuple(steps), unread=unread)
    return replace(_longest(own), unread=unread)


def fp8_planner(planner: Planner) -> Planner | None:
    """The same with an FP8 KV cache; None where it has one, was told not to, or cannot."""
    settings = planner.settings(Sharding())
    if planner.spec.kv_cache_dtype not in (None, "auto"):
        return None
    if cache_bytes(settings.kv_cache_dtype, settings.dtype) <= 1:
        return None
    if not attention.takes_fp8_cache(planner.shape, settings, planner.profile):
        return None
    return planner.given(kv_cache_dtype="fp8")


def _readable(planner: Planner) -> Planner:
    """With the model's own cache dtype where no kernel reads the FP8 that the checkpoint wants."""
    settings = planner.settings(Sharding())
    free = planner.spec.kv_cache_dtype is None
    if free and attention.lacks_fp8_cache(planner.shape, settings, planner.profile):
        return planner.given(kv_cache_dtype=settings.dtype)
    return planner


def _given(planner: Planner, steps: list[SearchStep]) -> Memory:
    """The first split that holds the context asked for, or the one that comes closest."""
    best: Memory | None = None
    best_runs = False
    for sharding in _options(planner):
        measured, runs = planner.measure(sharding), planner.runs(sharding)
        if not runs:
            steps.append(_step(measured, 0, planner.shape_reasons(sharding)[0].code))
            best = best or measured
        elif planner.holds(measured):
            steps.append(_step(measured, measured.settings.length, "fits"))
            return measured
        else:
            longest = min(measured.longest, measured.settings.length)
            word = "holds fewer users" if measured.fits else "does not fit"
            steps.append(_step(measured, longest, word))
            if best is None or not best_runs or _closer(measured, best):
                best, best_runs = measured, True
    assert best is not None
    return best


def _longest(planner: Planner) -> ContextChoice:
    """The longest context: roomy before tight, the model's own cache dtype before FP8.

    Where there is none, with fewer sequences.
    """
    steps: list[SearchStep] = []
    free = planner.spec.kv_cache_dtype is None
    smaller = fp8_planner(planner) if free else None
    kinds = [planner] if smaller is None else [planner, smaller]
    # A split may be asked for again where no roomy one does.
    measure = cache(lambda kind, split, length: kind.given(max_model_len=length).measure(split))
    several = [kinds, [kind.given(max_num_seqs=FEWER) for kind in kinds]]
    for tried in several if _reduces_by_nccl(planner) else several[:1]:
        for roomy, kind in product((True, False), tried):
            found = _among(kind, measure, roomy, steps)
            if found is not None:
                own = kind.given(max_model_len=found.settings.length)
                eight = smaller is not None and kind is tried[-1]
                fewer = tried is not kinds
                done = tuple(steps)
                return ContextChoice(own, found, done, chosen=True, fp8=eight, fewer=fewer)
    least = kinds[-1].given(max_model_len=planner.least)
    closest = _given(least, [])
    return ContextChoice(least, closest, tuple(steps), chosen=True, fp8=kinds[-1] is smaller)


def _reduces_by_nccl(planner: Planner) -> bool:
    """Whether graphs of a split hold NCCL's buffers, and nobody said for how many sequences."""
    splits = map(planner.settings, _options(planner))
    captured = any(captures_nccl(split, planner.profile) and not split.eager for split in splits)
    return captured and planner.spec.max_num_seqs is None


_Measure = Callable[[Planner, Sharding, int], Memory]


def _among(
    planner: Planner, measure: _Measure, roomy: bool, steps: list[SearchStep]
) -> Memory | None:
    """The least split that holds the model's own limit, or the one that holds most."""
    best: Memory | None = None
    for sharding in _options(planner):
        reasons = planner.shape_reasons(sharding)
        if reasons:
            if roomy:
                measured = measure(planner, sharding, planner.least)
                steps.append(_step(measured, 0, reasons[0].code))
            continue
        found = _fitted(planner, measure, sharding, roomy)
        length = found.settings.length if planner.holds(found, _spare(found, roomy)) else 0
        if roomy or length:
            word = "the limit" if length == planner.limit else "the longest" if length else ""
            steps.append(_step(found, length, word or f"less than {planner.least:,}"))
        if length == planner.limit:
            return found
        if length and (best is None or length > best.settings.length):
            best = found
    return best


def _fitted(planner: Planner, measure: _Measure, sharding: Sharding, roomy: bool) -> Memory:
    """The longest context of a split, a round number; the least where nothing holds."""
    length = planner.limit
    while length > planner.least:
        measured = measure(planner, sharding, length)
        spare = _spare(measured, roomy)
        if planner.holds(measured, spare):
            return measured
        stage = measured.tightest
        room = (stage.pool - spare) / (planner.spec.users or 1)
        # How much there is depends on the context in some versions: measured again.
        length = min(rounded(stage.layout.longest(room, length)), length - 1)
    return measure(planner, sharding, planner.least)


def rounded(length: int) -> int:
    """A number of tokens that reads well, at most `length`: whole blocks, and little lost."""
    step = _COARSE if length >= _FINE_BELOW else _FINE
    return length // step * step


def _spare(memory: Memory, roomy: bool) -> float:
    """Bytes to leave free; none where the KV cache has the size that the user says."""
    if not roomy or memory.settings.kv_cache_bytes is not None:
        return 0.0
    return max(SPARE_SHARE * memory.pool, SPARE_GIB * GIB)


def _options(planner: Planner) -> Iterator[Sharding]:
    """Splits to try: of as many GPUs as each replica has, or all where none is so small."""
    spec = planner.spec
    every = list(shardings(spec, planner.shape, planner.profile))
    share = [s for s in every if s.gpus * (spec.replicas or 1) <= spec.gpus]
    return iter(share or every)


def _step(memory: Memory, length: int, outcome: str) -> SearchStep:
    settings = memory.settings
    return SearchStep(
        tensor_parallel_size=settings.sharding.tensor,
        pipeline_parallel_size=settings.sharding.pipeline,
        kv_cache_dtype=settings.kv_cache_dtype or "auto",
        max_model_len=max(0, length),
        kv_cache_gib=round(memory.pool / GIB, 4),
        outcome=outcome,
    )


def _closer(memory: Memory, other: Memory) -> bool:
    """Fitting beats not fitting; then the larger cache wins."""
    return (memory.fits, memory.concurrency, memory.pool) > (
        other.fits,
        other.concurrency,
        other.pool,
    )
