"""Which pieces of a layer a checkpoint leaves unquantized, and how it stores those it mixes.

Quantizers name modules in many ways: whole names, one for each layer (`model.layers.7.self_attn`),
globs (`*.mlp.gate*`), regular expressions (`re:.*self_attn.*`, GPTQModel's `-:.*attn.*`). They are
untrusted, so they are compared as text and never run.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from deployctl.model import Quantization

MOST = 4096  # patterns that are read
_LAYER = re.compile(r"\.\d+(?=[.*]|$)")
# Of the decoder: not `mtp.layers.0`.
_WHOLE = re.compile(r"^(?:(?:language_)?model\.){0,3}layers\.(\d{1,4})[.*]{0,2}\Z")
_CHOICE = re.compile(r"\(([\w|]{1,200})\)")


class Piece(NamedTuple):
    """A piece of a layer, by the names that its modules have in the families of vLLM."""

    modules: tuple[str, ...]


_ATTENTION = ("q_proj", "qkv_proj", "q_b_proj")
ATTENTION = Piece(
    tuple(f"{part}.{name}" for part in ("self_attn", "attn", "mixer") for name in _ATTENTION)
)
OUTPUT = Piece(("self_attn.o_proj", "attn.o_proj", "mixer.o_proj"))
STATES = Piece(
    (
        "linear_attn.in_proj_qkv",
        "linear_attn.in_proj_qkvz",
        "mixer.in_proj",
        "mamba.in_proj",
        "conv.in_proj",
    )
)
DENSE = Piece(("mlp.gate_proj", "mlp.up_proj", "mlp.gate_up_proj"))
SHARED = Piece(
    (
        "mlp.shared_expert.up_proj",
        "mlp.shared_experts.up_proj",
        "mixer.shared_experts.up_proj",
        "feed_forward.shared_expert.up_proj",
    )
)
EXPERTS = Piece(("mlp.experts.N.up_proj", "mixer.experts.N.up_proj", "ffn.experts.N.up_proj"))
HEAD = Piece(("lm_head",))
EVERY = (ATTENTION, OUTPUT, STATES, DENSE, SHARED, EXPERTS)


def leaves_out(quantization: Quantization | None, piece: Piece, layers: int) -> bool:
    """Whether most of the `layers` that have this piece have it unquantized."""
    if quantization is None:
        return True
    return any(
        count is None or 2 * count >= max(1, layers)
        for pattern, exact, count in _patterns(
            quantization.ignored, tuple(quantization.dynamic), quantization.method
        )
        if any(_covers(pattern, module, exact) for module in piece.modules)
    )


def whole_layers(quantization: Quantization | None) -> frozenset[int]:
    """The layers that a checkpoint leaves unquantized as a whole (`model.layers.0`)."""
    named = quantization.ignored[:MOST] if quantization is not None else ()
    return frozenset(int(found[1]) for found in map(_WHOLE.search, named) if found)


def algorithm(quantization: Quantization, piece: Piece) -> str | None:
    """How a checkpoint of mixed precision stores a piece, in ModelOpt's words; None: as it was."""
    named: Any = quantization.raw.get("quantized_layers")
    if not isinstance(named, dict):
        inner = quantization.raw.get("quantization")
        named = inner.get("quantized_layers") if isinstance(inner, dict) else None
    if not isinstance(named, dict):
        return None
    for pattern, name in _first_of_each(tuple(named)):
        if any(_covers(pattern, module) for module in piece.modules):
            how = named[name]
            return str(how.get("quant_algo", "")).upper() if isinstance(how, dict) else None
    return None


@lru_cache(maxsize=64)
def _first_of_each(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Of modules that differ in their numbers alone, what they share and the first."""
    seen: dict[str, str] = {}
    for name in names:
        seen.setdefault(_LAYER.sub(".N", name), name)
    return tuple(seen.items())


class _Pattern(NamedTuple):
    text: str  # with * for anything
    exact: bool  # it names a module alone, not what that holds
    layers: int | None  # how many it names; None: it speaks for all


@lru_cache(maxsize=64)  # a refused plan asks a thousand times
def _patterns(ignored: tuple[str, ...], dynamic: tuple[str, ...], method: str) -> list[_Pattern]:
    tally: Counter[tuple[str, bool]] = Counter()
    dropped = [f"re:{name[2:]}" for name in dynamic[:MOST] if name.startswith("-:")]
    for pattern in [*ignored[:MOST], *dropped]:
        plain = pattern.replace("\\", "")
        # Names in compressed-tensors are of one module (compressed_tensors/utils.py of vLLM).
        exact = method == "compressed-tensors" and not plain.startswith("re:")
        if plain.startswith("re:"):
            plain = plain[3:].replace(".*", "*").strip("^$")
        tally.update((_LAYER.sub(".N", one), exact) for one in _choices(plain))
    made = [
        _Pattern(text, exact, count if "layers.N" in text else None)
        for (text, exact), count in tally.items()
    ]
    modules = [module for piece in EVERY for module in piece.modules]
    return [p for p in made if any(_covers(p.text, m, p.exact) for m in modules)]


def _choices(pattern: str) -> Iterator[str]:
    """A pattern for each choice of its first group: `(gate|up)_proj`."""
    group = _CHOICE.search(pattern)
    if group is None:
        yield pattern
        return
    for word in group[1].split("|"):
        yield pattern[: group.start()] + word + pattern[group.end() :]


@lru_cache(maxsize=4096)
def _covers(pattern: str, module: str, exact: bool = False) -> bool:
    """Whether a pattern speaks of a module of any layer, or of one that holds it."""
    name = f"layers.N.{module}"
    start = pattern.rfind("layers.")
    text = pattern[max(start, 0) :]
    at = 0
    for part in text.split("*"):
        at = name.find(part, at)
        if at < 0:
            return False
        at += len(part)
    end = name[at : at + 1]
    return text.endswith("*") or not end or (end == "." and not exact)
