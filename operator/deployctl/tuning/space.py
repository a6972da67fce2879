"""Space: which settings are tried, and with which values. Pure, but for `read`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deployctl.engines.vllm import flags
from deployctl.errors import Reason, SpecError, did_you_mean
from deployctl.hardware import GpuProfile
from deployctl.planning.plan import ServingPlan
from deployctl.planning.settings import fold
from deployctl.spec import ServiceSpec
from deployctl.spec.load import problems, read_documents
from deployctl.tuning.overlay import plain
from deployctl.tuning.trial import Parameter, Value

BY_ITSELF = ("tensor_parallel_size", "max_num_seqs", "max_num_batched_tokens")
AUTO = "auto"
# Fields of a spec that a search may change: how the service runs, not what it is.
TUNABLE = (
    *BY_ITSELF,
    "gpu_memory_utilization",
    "kv_cache_gib",
    "kv_cache_dtype",
    "dtype",
    "enforce_eager",
)
_RANKS_ON_CPU = 2  # more, on the cores of one host, only wait for each other
# Around the engine's own value: it is seldom off by more.
_SEQUENCES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4)
_TOKENS = (1 / 4, 1 / 2, 1, 2, 4, 8)
_MOST_SEQUENCES, _MOST_TOKENS, _LEAST_TOKENS = 2048, 32768, 256
_WRITE = "write for example max_num_seqs: [32, 64, 128]"

Asked = Mapping[str, tuple[Value, ...] | None]  # None: the values that are chosen here


def read(file: Path, version: str) -> dict[str, tuple[Value, ...] | None]:
    """Reads a space file, `name: [values]` or `name: auto`. It is the whole space.

    `version` is the engine's: an engine argument that it does not have is refused.

    Raises:
        SpecError: a name is unknown or a value is none that the setting takes; `where` is its
            path, as `space.yaml: max_num_seqs/1`.
    """
    documents = read_documents(file)
    if len(documents) > 1:
        raise SpecError("a space file holds one document", where=str(file), hint=_WRITE)
    space: dict[str, tuple[Value, ...] | None] = {}
    for given, values in documents[0].items():
        name, where = plain(given), f"{file}: {given}"
        _known(name, where, version)
        if name in space:
            raise SpecError(f"{name} is named twice", where=where)
        if values == AUTO and name in BY_ITSELF:
            space[name] = None
            continue
        if not isinstance(values, list) or not values:
            hint = f"{_WRITE}, or {name}: auto" if name in BY_ITSELF else _WRITE
            raise SpecError(f"{values!r} is not a list of values", where=where, hint=hint)
        checked = [_value(name, v, f"{where}/{i}", version) for i, v in enumerate(values)]
        if len(set(map(repr, checked))) != len(checked):
            raise SpecError("a value is given twice", where=where)
        space[name] = _ascending(checked)
    return space


def _known(name: str, where: str, version: str) -> None:
    if name in TUNABLE:
        return
    if name in ServiceSpec.model_fields:
        raise SpecError(
            f"{name} is not a setting to tune: it defines what is served, or where",
            where=where,
            hint=f"set it once with --{name.replace('_', '-')}; there are {', '.join(TUNABLE)}, "
            "and the engine's arguments",
        )
    problem = _flag_problem(name, None, version)
    if problem is not None:
        raise SpecError(
            problem.message, where=where, hint=did_you_mean(name, TUNABLE) or problem.fix
        )


def _flag_problem(name: str, value: Value | None, version: str) -> Reason | None:
    return flags.check(name, value, version) if flags.known(version) else None


def _value(name: str, value: Any, where: str, version: str) -> Value:
    if not isinstance(value, bool | int | float | str):
        raise SpecError(f"{value!r} is not a single value", where=where, hint=_WRITE)
    if name in TUNABLE:
        switch = name == "enforce_eager"
        if isinstance(value, bool) != switch:
            wanted = "true or false" if switch else "a value, not a switch"
            raise SpecError(f"{name} takes {wanted} (got {value!r})", where=where)
        for _, message, hint in problems({"model": "any", name: value}):
            raise SpecError(message, where=where, hint=hint)
    if name not in TUNABLE or name in ("kv_cache_dtype", "dtype"):
        problem = _flag_problem(name, value, version)
        if problem is not None:
            raise SpecError(problem.message, where=where, hint=problem.fix)
    if name not in TUNABLE:
        return value
    coerced: Value = getattr(ServiceSpec.model_validate({"model": "any", name: value}), name)
    return coerced


def _ascending(values: Sequence[Value]) -> tuple[Value, ...]:
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return tuple(sorted(values, key=lambda v: float(v)))
    return tuple(values)


def parameters(
    spec: ServiceSpec,
    plan: ServingPlan,
    profile: GpuProfile,
    *,
    cores: int,
    asked: Asked | None = None,
) -> tuple[Parameter, ...]:
    """The space: what a file asked for, or batch settings and tensor parallelism by themselves.

    `plan` is the baseline's; `cores` are this host's, which bound the ranks on a CPU. A setting
    with one value, which the service has already, is left out.
    """
    spec, _ = fold(spec)
    wanted: Asked = dict.fromkeys(BY_ITSELF) if asked is None else asked
    parameters = []
    for name, values in wanted.items():
        current = now(name, spec, plan)
        chosen = _chosen(name, spec, plan, profile, cores) if values is None else values
        if set(chosen) - {current}:
            parameters.append(Parameter(name, chosen, current))
    return tuple(parameters)


def now(name: str, spec: ServiceSpec, plan: ServingPlan) -> Value | None:
    """What the baseline has: given, or by the engine's own choice; None where that is unknown."""
    if name == "tensor_parallel_size":
        return plan.tensor_parallel_size
    if name in TUNABLE:
        value = getattr(spec, name)
        known = value if value is not None else plan.engine.defaults.get(name)
        return known if isinstance(known, bool | int | float | str) else None
    given = spec.engine_args.get(name)
    if isinstance(given, bool | int | float | str):
        return given
    flag = flags.flag(name.replace("_", "-"), plan.engine.version)
    default = flag.default if flag else None
    return default if isinstance(default, bool | int | float | str) else None


def _chosen(
    name: str, spec: ServiceSpec, plan: ServingPlan, profile: GpuProfile, cores: int
) -> tuple[Value, ...]:
    current = now(name, spec, plan)
    if name == "tensor_parallel_size":
        cpu = profile.kind == "cpu"
        most = min(_RANKS_ON_CPU, cores) if cpu else min(spec.gpus, profile.max_per_host)
        sizes = {2**n for n in range(11) if 2**n <= most} | {plan.tensor_parallel_size}
        return tuple(sorted(sizes))
    assert isinstance(current, int)
    if name == "max_num_seqs":
        values = {_power(current * share) for share in _SEQUENCES}
        values = {v for v in values if 1 <= v <= _MOST_SEQUENCES}
    else:
        values = {_power(current * share) for share in _TOKENS}
        values = {v for v in values if _LEAST_TOKENS <= v <= _MOST_TOKENS}
    return tuple(sorted(values | {current}))


def _power(value: float) -> int:
    """The power of two that is nearest by ratio."""
    lower = 1 << max(0, int(value).bit_length() - 1)
    return int(lower if value / lower <= 2**0.5 else 2 * lower)
