"""Finds the language model inside a config: the config itself, or a part of it."""

from typing import Any

from deployctl.model.fields import Fields

# transformers' own names, then those of checkpoints with their own classes.
_PARTS = (
    "text_config",
    "thinker_config",
    "llm_config",
    "language_config",
    "language_model_config",
    "decoder",
    "generator",
    "text_encoder",
)
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_OTHER_SENSES = (
    "vision_config",
    "audio_config",
    "vision_tower",
    "mm_vision_tower",
    "vision_cfg",
    "visual",
    "thinker_config",
    "audio_encoder_config",
    "speech_config",
)
_DEEPEST = 4
FILE = "config.json"


def text_part(config: dict[str, Any]) -> Fields:
    """The part with the decoder's numbers: `text_config` and its like, nested ones too."""
    part = Fields(config, FILE)
    for _ in range(_DEEPEST):
        inner = _inner(part)
        if inner is None:
            break
        part = inner
    return part


def multimodal(config: dict[str, Any]) -> bool:
    """Whether the checkpoint takes more than text."""
    return any(config.get(name) for name in _OTHER_SENSES)


def _inner(part: Fields) -> Fields | None:
    for name in _PARTS:
        inner = part.under(name)
        if inner is None or not inner.values:
            continue
        # An encoder-decoder may carry a `decoder` beside its own numbers; those win.
        if name in ("text_config", "thinker_config") or not part.has(*_LAYERS):
            return inner
    return None
