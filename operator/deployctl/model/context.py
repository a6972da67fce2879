"""How many tokens a model takes, as vLLM 0.32 derives it.

vllm/transformers_utils/model_arch_config_convertor.py (derive_max_model_len_and_key) and
vllm/config/model.py (_get_and_verify_max_len).
"""

from collections.abc import Iterator
from typing import Any

from deployctl.model.fields import LARGEST, Fields

# The smallest of those that are there counts.
_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
UNKNOWN = 2048  # what the engine assumes where no key is there
# Their max_position_embeddings is scaled already.
_SCALED: tuple[str, ...] = (
    "su",
    "longrope",
    "llama3",
    "yarn",
    "deepseek_yarn",
    "deepseek_llama_scaling",
)
_SCALED += ("telechat3-yarn",)


def lengths(text: Fields, model_type: str, default: int | None) -> tuple[int, int]:
    """Returns the most tokens the engine accepts, and those it takes when nobody says.

    `default` is the configuration class's own, where config.json has no key at all.

    Raises:
        ModelError: a length or a scaling factor is impossible.
    """
    said = [text.whole(key) for key in _KEYS if text.has(key)]
    longest = min(said) if said else default or UNKNOWN
    if text.has("model_max_length"):
        longest = text.whole("model_max_length")
    kinds = list(_rope(text))
    if "gemma3" not in model_type:
        factor = 1.0
        for rope in kinds:
            if _kind(rope) not in _SCALED:
                factor = rope.number("factor") or factor
        longest = int(longest * factor)
    if longest > LARGEST:
        raise text.wrong("max_position_embeddings", "the context length is not plausible")
    usual = longest
    if any(_kind(rope) in ("su", "longrope") for rope in kinds):
        # Short prompts suffer beyond the original length, so the engine stays there by default.
        usual = text.whole("original_max_position_embeddings", default=longest)
    return longest, min(usual, longest)


def _rope(text: Fields) -> Iterator[Fields]:
    """Rotary settings: one mapping, or one for each kind of layer."""
    name = "rope_scaling" if text.values.get("rope_scaling") else "rope_parameters"
    rope = text.under(name)
    if rope is None:
        return
    nested = [key for key, value in rope.values.items() if isinstance(value, dict)]
    if nested and all(key.endswith("_attention") for key in nested):
        for key in nested:
            inner = rope.under(key)
            if inner is not None:
                yield inner
    else:
        yield rope


def _kind(rope: Fields) -> Any:
    return rope.values.get("rope_type") or rope.values.get("type") or "default"
