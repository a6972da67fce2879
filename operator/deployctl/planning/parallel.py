"""How many GPUs share one replica: the smallest tensor-parallel size that does."""

from collections.abc import Callable, Iterator

from deployctl.planning.budget import Memory
from deployctl.planning.shape import Shape
from deployctl.planning.weights import Sharding
from deployctl.spec import ServiceSpec


def candidates(spec: ServiceSpec, shape: Shape, per_host: int) -> Iterator[Sharding]:
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


def choose(
    options: list[Sharding],
    measure: Callable[[Sharding], Memory],
    runs: Callable[[Sharding], bool],
    users: int,
) -> tuple[Sharding, Memory]:
    """Returns the first option that fits and holds `users`, or the one that comes closest."""
    best: tuple[Sharding, Memory] | None = None
    for option in options:
        memory = measure(option)
        if not runs(option):
            best = best or (option, memory)
            continue
        if memory.fits and memory.concurrency >= users:
            return option, memory
        if best is None or not runs(best[0]) or _closer(memory, best[1]):
            best = (option, memory)
    assert best is not None
    return best


def _closer(memory: Memory, other: Memory) -> bool:
    """Fitting beats not fitting; then the larger cache wins."""
    return (memory.fits, memory.concurrency, memory.pool) > (
        other.fits,
        other.concurrency,
        other.pool,
    )
