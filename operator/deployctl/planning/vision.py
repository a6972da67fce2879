"""The towers of a multimodal model, read from `vision_config` and `audio_config` with the same
suspicion."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployctl.model.fields import count
from deployctl.model.tables import TYPES

# Of the largest video of Qwen2-VL and Qwen2.5-VL: 14 at most, of which two make one image
# (qwen2_vl.py, _MAX_FRAMES_PER_VIDEO; 16 before 0.11).
VIDEO_IMAGES = 7
# Tokens of Qwen's largest image, by the processors that Qwen publishes, and more than any takes.
IMAGE_TOKENS, MOST_TOKENS = 16384, 1 << 20


@dataclass(frozen=True)
class Vision:
    """A vision tower, as far as its weights can be told from `vision_config`."""

    layers: int
    hidden: int
    intermediate: int
    gated: bool = False
    merged: int = 1  # patches that the projector joins to one token
    patches: int = 4  # patches behind one token of the decoder
    item_tokens: int = 0  # tokens of the largest image, where images may be of any size
    unit: int = 0  # pixels along each side of what is behind one of them
    video_images: int = 0  # that the largest video is made of, where the context allows; 0: none
    rotated: bool = False  # its attention has rotary positions
    deep: int = 0  # of its layers whose outputs go to the decoder's beside the last one's
    pixels: int = 0  # values a patch
    placed: int = 0  # rows of its tables of positions
    held: int = 0  # values a patch that are there while it works: pixels, and positions looked up


def vision_of(tower: Any, parent: str, pixels: int = 0) -> Vision | None:
    """The tower of a model of type `parent`; None where it has none that can be told.

    `pixels`: of the largest image, where the checkpoint's processor says.
    """
    if not isinstance(tower, Mapping):
        return None
    # Where both are there (Qwen2-VL), hidden_size is the decoder's width.
    hidden = count(tower, "embed_dim", "hidden_size", "width")
    layers = count(tower, "num_hidden_layers", "depth", "layers")
    if not hidden or not layers:
        return None
    inner = count(tower, "intermediate_size")
    ratio = tower.get("mlp_ratio")
    if not inner:
        inner = int(hidden * (ratio if isinstance(ratio, int | float) and 0 < ratio < 64 else 4))
    side = max(1, min(16, count(tower, "spatial_merge_size", default=1)))
    kind = str(tower.get("model_type") or parent)
    edge = max(1, min(64, count(tower, "patch_size", default=14)))
    patch = 3 * edge * edge * max(1, min(8, count(tower, "temporal_patch_size", default=1)))
    deep = tower.get("deepstack_visual_indexes")
    grid = count(tower, "num_position_embeddings")
    looked_up = hidden if grid else 0  # qwen3_vl.py
    qwen2 = parent.startswith("qwen2")
    return Vision(
        layers=min(layers, 10_000),
        hidden=hidden,
        intermediate=inner,
        gated=kind.startswith(tuple(TYPES["gated_vision"])),
        merged=side * side,
        patches=16 if parent.startswith("gemma3") else max(4, side * side),
        item_tokens=tokens_of(pixels, edge * side) if parent.startswith("qwen") else 0,
        unit=edge * side,
        # Gemma 4 too was profiled with videos; Gemma 3 and Mistral 3 take none.
        video_images=VIDEO_IMAGES if qwen2 else int(parent.startswith(("qwen", "gemma4"))),
        rotated=parent.startswith("qwen"),
        pixels=patch,
        # One table for each side of an image (modeling_gemma4.py), or one for both.
        placed=min(1 << 20, grid + 2 * count(tower, "position_embedding_size")),
        held=patch + looked_up,
        deep=len(deep) if isinstance(deep, list) and len(deep) < 64 else 0,
    )


def tokens_of(pixels: int, unit: int) -> int:
    """Tokens of an image of so many pixels (0: of the largest that Qwen's own processors take),
    where one stands for `unit` pixels along each side."""
    return min(MOST_TOKENS, pixels // unit**2) if pixels else IMAGE_TOKENS


def tried_with(tower: Vision, image: int, images: int, size: Any) -> int:
    """Tokens of the image or video that vLLM tries a tower with.

    It is of `images` of `image` tokens each, unless `size` (`num_frames`; `width` and `height` in
    pixels) says less; more is ignored (vllm/multimodal/processing/dummy_inputs.py).
    """
    if not isinstance(size, Mapping):
        return image * images
    height, width = _sides(image)
    if given := count(size, "height"):
        height = min(height, max(1, round(given / tower.unit)))
    if given := count(size, "width"):
        width = min(width, max(1, round(given / tower.unit)))
    if given := count(size, "num_frames"):
        images = min(images, math.ceil(given / 2))
    return height * width * images


def _sides(tokens: int) -> tuple[int, int]:
    """Tokens along height and width of the largest image: as square as such a number allows, and
    none longer than 200 to 1 (qwen2_vl.py, get_image_size_with_most_features)."""
    for number in range(tokens, 0, -1):
        height = next(n for n in range(math.isqrt(number), 0, -1) if number % n == 0)
        if number <= 200 * height * height:
            return height, number // height
    return 1, 1


# Matrices of hidden x hidden in a block of the audio tower: two feed-forward parts of four times
# the width (16), query, key, value, output and positions (5), and a light convolution's three
# (modeling_gemma4.py and modeling_gemma3n.py of transformers, whose towers vLLM has whole).
_AUDIO_MATRICES = 24
_AUDIO_TYPES = ("gemma4_audio", "gemma3n_audio")


def audio_values(tower: Mapping[str, Any], decoder: int) -> int:
    """Weights of an audio tower and of its projection to a decoder so wide; 0 where it has none
    that can be told."""
    if tower.get("model_type") not in _AUDIO_TYPES:
        return 0
    hidden = min(count(tower, "hidden_size"), 65_536)
    layers = min(count(tower, "num_hidden_layers", "conf_num_hidden_layers"), 10_000)
    output = min(count(tower, "output_proj_dims", default=hidden), 65_536)
    if not hidden or not layers:
        return 0
    convolved = hidden * 1024  # what two convolutions leave of a spectrum of 128 bins
    return layers * _AUDIO_MATRICES * hidden**2 + convolved + output * (hidden + decoder)
