"""Lays a recommendation over a spec, and says where it was measured on something else. Pure."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from deployctl.errors import InputError
from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.planning.plan import ServingPlan
from deployctl.spec import ServiceSpec
from deployctl.spec.load import complaint
from deployctl.spec.service import RECORDED
from deployctl.tuning.recommendation import Hardware, Recommendation

# Fields that a recommendation may set; any other name is an engine argument. Never what is
# served, where, and who may reach it.
SETTABLE = frozenset(
    {
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "replicas",
        "max_model_len",
        "gpu_memory_utilization",
        "kv_cache_gib",
        "max_num_seqs",
        "max_num_batched_tokens",
        "kv_cache_dtype",
        "dtype",
        "enforce_eager",
    }
)


class Override(NamedTuple):
    """One setting that the recommendation has otherwise than the spec."""

    name: str
    spec: Any  # None: the spec leaves it to plan and engine
    recommended: Any


class Overlaid(NamedTuple):
    """A spec with a recommendation over it."""

    spec: ServiceSpec
    changes: tuple[Override, ...]  # taken from the recommendation
    kept: tuple[Override, ...]  # not taken: flag or variable says otherwise


def plain(name: str) -> str:
    """A setting's name as a spec writes it: `--max-num-seqs` is `max_num_seqs`."""
    return name.strip("-").replace("-", "_")


def replaced(spec: ServiceSpec, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a spec that change when settings take the place of its own.

    A name that is no field of the spec is an engine argument.
    """
    arguments = dict(spec.engine_args)
    fields: dict[str, Any] = {}
    for name, value in settings.items():
        arguments.pop(name, None)
        (fields if name in ServiceSpec.model_fields else arguments)[name] = value
    return {**fields, "engine_args": arguments}


def overlay(
    recommendation: Recommendation,
    spec: ServiceSpec,
    *,
    pinned: Collection[str] = (),
    where: str = "recommendation",
) -> Overlaid:
    """The spec with the recommended settings.

    They win over a spec file, which is what they were measured against, and lose against what
    is `pinned`: names that a flag or the environment gives for this one time.

    Raises:
        InputError: a setting is not for a recommendation, or has a value the spec refuses.
    """
    fixed = {plain(name).removeprefix("no_") for name in pinned}
    changes, kept = [], []
    for name, value in recommendation.settings.items():
        own = plain(name)
        if own in ServiceSpec.model_fields and own not in SETTABLE:
            raise InputError(
                f"{own} cannot be set by a recommendation",
                where=f"{where}: settings/{name}",
                hint="put it into the spec",
            )
        before = _current(spec, own)
        if before == value and type(before) is type(value):
            continue
        if own in fixed:
            kept.append(Override(own, before, value))
            continue
        changes.append(Override(own, before, value))
    if not changes:
        return Overlaid(spec, (), tuple(kept))
    taken = {change.name: change.recommended for change in changes}
    document = {**spec.model_dump(exclude_unset=True), **replaced(spec, taken)}
    try:
        laid = ServiceSpec.model_validate(document, context=RECORDED)  # the spec may be one
    except ValidationError as error:
        problem = error.errors()[0]
        raise InputError(
            complaint(problem),
            where=f"{where}: settings/{'/'.join(map(str, problem['loc']))}",
            hint="deployctl tune writes this file; take it as it was written",
        ) from error
    return Overlaid(laid, tuple(changes), tuple(kept))


def _current(spec: ServiceSpec, name: str) -> Any:
    """What the spec has: its field, or an engine argument of that meaning; None if neither."""
    if name in spec.engine_args:
        return spec.engine_args[name]
    if name not in SETTABLE:
        return None
    value = getattr(spec, name)
    return None if value is False and name not in spec.model_fields_set else value


def mismatches(
    recommendation: Recommendation, plan: ServingPlan, facts: ModelFacts, hardware: Hardware
) -> list[str]:
    """Why the settings may not be right here: another model, engine version or hardware."""
    was = recommendation.measured
    reasons = []
    digest = model_digest(facts)
    if was.model_digest is not None:
        # The same shapes and formats are the same work, whoever trained them and wherever
        # they lie.
        if was.model_digest != digest:
            reasons.append(f"it was measured with another model: {was.model}, not {plan.model}")
    elif was.model != plan.model:
        reasons.append(f"it was measured with the model {was.model}, not {plan.model}")
    if was.engine_version != plan.engine.version:
        reasons.append(
            f"it was measured with vLLM {was.engine_version}, and the plan is for "
            f"{plan.engine.version}"
        )
    if not same_hardware(was.hardware, hardware):
        reasons.append(f"it was measured on {was.hardware}, and this is {hardware}")
    return reasons


def same_hardware(one: Hardware, other: Hardware) -> bool:
    """Whether settings carry over; what only one of them tells is not held against it."""
    if (one.gpu, one.gpus) != (other.gpu, other.gpus):
        return False
    for name in ("memory_gib", "processor"):
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine is not None and theirs is not None and mine != theirs:
            return False
    return True


def hardware(profile: GpuProfile, gpus: int, processor: str | None = None) -> Hardware:
    """The words for a piece of hardware. `processor` is asked of the host, for a CPU alone."""
    if profile.kind == "cpu":
        return Hardware(gpu=profile.name, gpus=1, processor=processor)
    return Hardware(gpu=profile.name, gpus=gpus, memory_gib=profile.memory_gib)


def model_digest(facts: ModelFacts) -> str:
    """Names what an engine computes with: architecture, quantization and stored sizes."""
    told = facts.model_dump(
        mode="json", include={"format", "architecture", "quantization", "bytes_by_dtype"}
    )
    text = json.dumps(told, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def other_flags(recommendation: Recommendation, plan: ServingPlan) -> list[str]:
    """Flags that differ from those that were measured: what else the spec has changed since."""
    was, now = recommendation.measured.args, plan.engine.args
    if not was or was == now:
        return []
    before, after = _flags(was), _flags(now)
    names = sorted((before.keys() | after.keys()) - {"--served-model-name"})
    return [
        f"{name} {after.get(name, '(unset)')}, measured with {before.get(name, '(unset)')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _flags(args: Collection[str]) -> dict[str, str]:
    flags: dict[str, str] = {}
    name = ""
    for word in args:
        if word.startswith("--"):
            name = word
            flags[name] = ""
        elif name:
            flags[name] = f"{flags[name]} {word}".strip()
    return {flag: value or "on" for flag, value in flags.items()}
