"""What an engine is asked to do, by the names of deploy/door/routes.yaml: generate, embed, …"""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from deployctl import assets
from deployctl.engines.vllm import DEFAULT_VERSION, flags
from deployctl.engines.vllm.versions import at_least
from deployctl.model import ModelFacts
from deployctl.spec import ServiceSpec

_POOLED = ("embed", "score")  # the routes of vLLM's embedding models; the second compares two
_CLASSIFIED = ("classify", "score")
_SEEN = ("image", "video")
# The first release that leaves out what has nothing to look at in every model
# (models/interfaces.py, _mark_tower_model); some classes did from 0.10.2 on.
BLIND = "0.15.0"
_CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification", "ForRewardModel")
# vLLM's --task, until 0.11 the name of what --runner and --convert say since.
_OLD_TASKS = {
    "generate": ("generate",),
    "transcription": ("transcribe",),
    "embed": _POOLED,
    "embedding": _POOLED,
    "classify": _CLASSIFIED,
    "score": _CLASSIFIED,
    "reward": _CLASSIFIED,
}


def tasks(facts: ModelFacts, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """The tasks of a checkpoint. `arguments` are the engine's, by the names of Python.

    The engine decides by the architecture, unless --runner, --convert or --task say otherwise
    (vllm/config/model.py).
    """
    if given := _OLD_TASKS.get(str(arguments.get("task", "auto"))):
        return given
    name = facts.architecture.name if facts.architecture else ""
    classifies = name.endswith(_CLASSIFIERS) or arguments.get("convert") == "classify"
    pools = name.endswith("Model") or arguments.get("convert") == "embed"
    if arguments.get("runner") == "pooling" or classifies or pools:
        return _CLASSIFIED if classifies else _POOLED
    speech = assets.table("deploy", "engines", "model-tasks.yaml")
    if name in speech["transcribe"]:
        return ("transcribe",)
    return ("generate", "transcribe") if name in speech["both"] else ("generate",)


def text_alone(spec: ServiceSpec) -> bool:
    """Whether the vision tower has nothing to look at, so that this release does not load it."""
    return _without(spec, _SEEN)


def deaf(spec: ServiceSpec) -> bool:
    """Whether the audio tower has nothing to hear, so that this release does not load it."""
    return _without(spec, ("audio",))


def _without(spec: ServiceSpec, kinds: tuple[str, ...]) -> bool:
    limits: Any = spec.engine_args.get("limit_mm_per_prompt")
    if isinstance(limits, str):
        with contextlib.suppress(ValueError):
            limits = json.loads(limits)
    none = isinstance(limits, dict) and all(most_of(limits, kind) == 0 for kind in kinds)
    none = none and at_least(spec.engine_version or DEFAULT_VERSION, BLIND)
    return none or spec.engine_args.get("language_model_only") is True


def most_of(limits: Mapping[str, Any], kind: str) -> Any:
    """How many images or videos a request may have by `limit_mm_per_prompt`, which is a number or
    the `count` beside their size (vllm/config/multimodal.py); None where it does not say."""
    given = limits.get(kind)
    return given.get("count") if isinstance(given, Mapping) else given


def blinding(version: str) -> tuple[str, dict[str, Any]] | None:
    """What leaves any vision tower out: as a person types it, and by the names of Python."""
    if flags.known(version) and flags.flag("language-model-only", version):
        return "--engine-arg language-model-only", {"language_model_only": True}
    if not at_least(version, BLIND):
        return None
    limits = dict.fromkeys(_SEEN, 0)
    typed = f"--engine-arg limit-mm-per-prompt='{json.dumps(limits, separators=(',', ':'))}'"
    return typed, {"limit_mm_per_prompt": limits}
