"""The planner's answer to a case, and the rules of others, in one shape."""

from dataclasses import dataclass

from benchmarks.memfit.cases import Case

from deployctl.planning.budget import edge_gib
from deployctl.planning.linear import DTYPE_BYTES
from deployctl.planning.make import MEMORY_CODES, make_plan
from deployctl.planning.pages import cache_bytes
from deployctl.planning.settings import Sharding
from deployctl.planning.shape import Shape, shape_of
from deployctl.planning.sharding import Planner
from deployctl.planning.tasks import text_alone
from deployctl.planning.weights import parts
from deployctl.units import GIB


@dataclass(frozen=True)
class Answer:
    """What a tool says of a case; None where it says nothing. GiB per GPU."""

    served: bool
    weights: float | None = None
    kv_cache: float | None = None
    tokens: int | None = None
    codes: tuple[str, ...] = ()
    edge: bool = False  # either outcome may come


def near(margin: float, cache: float = 0.0) -> bool:
    """Whether a rule's own margin, GiB, is in the band in which the planner decides nothing."""
    return abs(margin) <= edge_gib(cache)


def ours(case: Case) -> Answer:
    """The planner, of a first start or of one that finds the compile cache, as the log shows."""
    plan = make_plan(case.spec, case.facts, case.profile, advise=False)
    memory, codes = plan.memory, tuple(reason.code for reason in plan.reasons)
    if memory is None:
        return Answer(plan.verdict == "fits", codes=codes)
    cache = memory.kv_cache_gib + (memory.compile_gib if case.warm else 0.0)
    margin = (plan.later_margin_gib if case.warm else plan.margin_gib) or 0.0
    decided = set(codes) <= MEMORY_CODES
    return Answer(
        served=decided and margin >= 0 if case.warm else plan.verdict == "fits",
        weights=memory.weights_gib,
        kv_cache=cache,
        tokens=_tokens(case, cache),
        codes=codes,
        edge=decided and near(margin, cache),
    )


def _tokens(case: Case, cache: float) -> int:
    """Tokens that a cache of so many GiB holds, as the engine counts them; negative: missing."""
    assert case.facts.architecture is not None
    shape = shape_of(case.facts.architecture, text_alone=text_alone(case.spec))
    split = Sharding(case.spec.tensor_parallel_size or 1, case.spec.pipeline_parallel_size or 1)
    memory = Planner(case.spec, case.facts, case.profile, shape).measure(split)
    layout = memory.tightest.layout
    if cache <= 0:
        return int(cache * GIB / layout.token_bytes)
    return layout.tokens(cache * GIB, memory.settings.length)


def _weights(case: Case, shape: Shape) -> float:
    """Weights as these tools take them: the checkpoint's size over all GPUs, evenly."""
    whole = parts(shape, case.facts.quantization, Sharding(), stage=0, dtype_bytes=2)
    gpus = _gpus(case)
    return (whole.embedding + whole.head + whole.layers) / gpus / GIB


def _gpus(case: Case) -> int:
    return (case.spec.tensor_parallel_size or 1) * (case.spec.pipeline_parallel_size or 1)


def _token_bytes(case: Case, shape: Shape) -> float:
    """Bytes of cache a token on one GPU, every layer alike."""
    value = cache_bytes(case.spec.kv_cache_dtype, "bfloat16")
    if shape.latent:
        return shape.layers * (shape.kv_rank + shape.rope_dim) * value
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * value / _gpus(case)


def _length(case: Case) -> int:
    return case.spec.max_model_len or _shape(case).positions


def _shape(case: Case) -> Shape:
    assert case.facts.architecture is not None
    return shape_of(case.facts.architecture)


def llm_d_planner(case: Case) -> Answer:
    """llm-d-planner's constants: activation by family, non-torch by TP, catalogue memory."""
    shape = _shape(case)
    kind = shape.model_type
    if shape.experts:
        activation = 8.0
    elif kind == "llama":
        activation = 4.8
    elif kind in ("qwen2", "qwen3"):
        activation = 5.6
    else:
        activation = 5.5
    outside = 0.60 if (case.spec.tensor_parallel_size or 1) > 1 else 0.15
    weights = _weights(case, shape)
    share = case.spec.gpu_memory_utilization or 0.9
    cache = _catalogue(case.profile.memory_gib) * share - weights - activation - outside
    bytes_each = _token_bytes(case, shape)
    tokens = int(max(0.0, cache) * GIB / bytes_each)
    edge = near(cache - _length(case) * bytes_each / GIB, cache)
    return Answer(cache > 0 and tokens >= _length(case), weights, cache, tokens, edge=edge)


def _catalogue(gib: float) -> float:
    """The size a card is sold with, which that tool takes for GiB."""
    for size in (8, 11, 12, 16, 24, 32, 40, 48, 80, 96, 141, 180, 192, 288):
        if gib <= size:
            return float(size)
    return gib


def gpustack(case: Case) -> Answer:
    """GPUStack's rule: weights × 1.2 within the share of memory that is used."""
    shape = _shape(case)
    weights = _weights(case, shape)
    share = case.spec.gpu_memory_utilization or 0.9
    reserve = _length(case) * _token_bytes(case, shape) / GIB
    margin = case.profile.memory_gib * share - weights * 1.2 - reserve
    return Answer(margin >= 0, weights, edge=near(margin))


def aiconfigurator(case: Case) -> Answer:
    """aiconfigurator's rule: GPUs × memory above 1.5 × weights."""
    weights = _weights(case, _shape(case))
    margin = case.profile.memory_gib - 1.5 * weights
    return Answer(margin > 0, weights, edge=near(margin))


def accelerate(case: Case) -> Answer:
    """accelerate's estimate: parameters × bytes of the dtype, no quantization, no cache.

    Computed by its formula (the library would build the model to count the same parameters);
    it fits when the weights do.
    """
    shape = _shape(case)
    dtype = case.facts.architecture.dtype if case.facts.architecture else "bfloat16"
    whole = parts(shape, None, Sharding(), stage=0, dtype_bytes=DTYPE_BYTES.get(dtype, 2))
    weights = (whole.embedding + whole.head + whole.layers) / GIB / _gpus(case)
    margin = case.profile.memory_gib - weights
    return Answer(margin >= 0, weights, edge=near(margin))


RIVALS = {
    "deployctl": ours,
    "llm-d-planner's constants": llm_d_planner,
    "GPUStack's rule": gpustack,
    "aiconfigurator's rule": aiconfigurator,
    "accelerate's formula": accelerate,
}
