"""What an engine is asked to do, by the names of deploy/door/routes.yaml: generate, embed, …"""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from deployctl import assets
from deployctl.model import ModelFacts

_POOLED = ("embed", "score")  # the routes of vLLM's embedding models; the second compares two
_CLASSIFIED = ("classify", "score")
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


def text_alone(arguments: Mapping[str, Any]) -> bool:
    """Whether the vision tower has nothing to look at: then vLLM does not load it."""
    limits: Any = arguments.get("limit_mm_per_prompt")
    if isinstance(limits, str):
        with contextlib.suppress(ValueError):
            limits = json.loads(limits)
    blind = isinstance(limits, dict) and all(limits.get(kind) == 0 for kind in ("image", "video"))
    return blind or arguments.get("language_model_only") is True
