"""How the weights are stored, from `quantization_config` or the quantizer's own file.

The names and where they are looked for are vLLM 0.32's: `config/model.py`
(_verify_quantization) and `transformers_utils/` (config.py, model_arch_config_convertor.py).
"""

from typing import Any

from deployctl.model import tables
from deployctl.model.facts import Documents, Quantization
from deployctl.model.fields import FILE, Fields, text_part

MAX_BITS, MAX_GROUP = 64, 2**24
_UNQUANTIZED = tables.names("unquantized")


def read_quantization(documents: Documents) -> Quantization | None:
    """Reads it; None for an unquantized checkpoint.

    Raises:
        ModelError: a field says something impossible.
    """
    settings = _find(documents)
    if settings is None:
        return None
    method = _method(settings)
    if method is None:
        return None
    if method == "compressed-tensors":
        return _compressed_tensors(settings)
    inner = settings.under("quantization") or settings  # ModelOpt's own file
    bits = _bits(inner, method)
    act_order = inner.values.get("desc_act")
    if act_order is not None and not isinstance(act_order, bool):
        raise inner.wrong("desc_act", "must be true or false")
    ignored: tuple[str, ...] = ()
    for part in (settings, inner):
        ignored = ignored or part.texts(*_UNQUANTIZED)
    dynamic = settings.values.get("dynamic")
    return Quantization(
        method=method,
        bits=bits,
        group_size=_group(inner, method),
        act_order=bool(act_order),
        symmetric=inner.flag("sym", False) if inner.has("sym") else None,
        zero_point=inner.flag("zero_point", False) if inner.has("zero_point") else None,
        ignored=ignored,
        packing=inner.text("checkpoint_format", "packing_format", "version", "quant_algo"),
        lm_head=inner.flag("lm_head", False),
        dynamic=dict(dynamic) if isinstance(dynamic, dict) else {},
        file=settings.file,
        raw=dict(settings.values),
    )


def _find(documents: Documents) -> Fields | None:
    """config.json, its text part, then the quantizer's own file."""
    config = documents.config or {}
    parts = [Fields(config, FILE), text_part(config)]
    for part in parts:
        for name in ("quantization_config", "compression_config"):
            value = part.values.get(name)
            if value is None or value == {}:
                continue
            inner = part.under(name)
            if inner is None:
                raise part.wrong(name, "must be an object")
            return inner
    if documents.quantize_config:
        return Fields(documents.quantize_config, documents.quantize_config_file or "")
    return None


def _method(settings: Fields) -> str | None:
    """The method's name, or None where the settings say that nothing is quantized."""
    algorithm = _modelopt(settings)
    if algorithm is not None:
        return algorithm
    named = settings.text("quant_method", "quantization_method")
    if named:
        return tables.method_name(named.lower())
    if settings.has("load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type"):
        return "bitsandbytes"
    if settings.has("config_groups"):
        return "compressed-tensors"
    # Files of the quantizers themselves name no method.
    if settings.has("w_bit", "q_group_size") or (
        settings.has("zero_point") and not settings.has("sym")
    ):
        return "awq"
    if settings.has("desc_act", "sym", "damp_percent") or settings.has("bits"):
        return "gptq"
    raise settings.wrong("quant_method", "is missing, and nothing else names the method")


def _modelopt(settings: Fields) -> str | None:
    inner = settings.under("quantization")
    producer = settings.under("producer")
    by_name = settings.values.get("quant_method") == "modelopt"
    if not by_name and (producer is None or producer.values.get("name") != "modelopt"):
        return None
    part = inner if inner is not None else settings
    algorithm = (part.text("quant_algo") or "").upper()
    if "MXFP8" in algorithm:
        return "modelopt_mxfp8"
    if "FP4" in algorithm:
        return "modelopt_fp4"
    return "modelopt_mixed" if algorithm == "MIXED_PRECISION" else "modelopt"


def _bits(inner: Fields, method: str) -> int | None:
    if inner.has("bits", "w_bit"):
        return inner.whole("bits", "w_bit", most=MAX_BITS)
    if method == "bitsandbytes":
        return 4 if inner.values.get("load_in_4bit") is True else 8
    if method == "quark":
        return _quark_bits(inner)
    return tables.fixed(method, "bits")


def _group(inner: Fields, method: str) -> int | None:
    names = ("group_size", "q_group_size")
    entry = inner.first(names)
    if entry is None:
        return tables.fixed(method, "group_size")
    name, value = entry
    if isinstance(value, list):  # blocks of rows and columns
        return None
    if value in (0, -1) and not isinstance(value, bool):
        return -1
    return inner.whole(name, most=MAX_GROUP)


def _quark_bits(inner: Fields) -> int | None:
    overall = inner.under("global_quant_config")
    weight: Any = overall.values.get("weight") if overall is not None else None
    if isinstance(weight, list) and weight:
        weight = weight[0]
    dtype = str(weight.get("dtype", "")) if isinstance(weight, dict) else ""
    return next((bits for word, bits in (("fp8", 8), ("int8", 8), ("4", 4)) if word in dtype), None)


def _compressed_tensors(settings: Fields) -> Quantization:
    """llm-compressor's settings by groups of layers.

    Reads the first group that says how weights are stored; the others are in `raw`.

    Raises:
        ModelError: a field says something impossible.
    """
    weights = _weights(settings)
    bits = group = None
    symmetric = order = None
    if weights is not None:
        bits = weights.optional("num_bits", most=64)
        symmetric = weights.flag("symmetric", True)
        order = weights.values.get("actorder")
        group = weights.optional("group_size", least=-1, most=2**24)
        if group is not None and group < 1:
            group = -1
    if group is None and weights is not None and weights.values.get("strategy") == "channel":
        group = -1
    return Quantization(
        method="compressed-tensors",
        bits=bits,
        group_size=group,
        # "static" and "weight" reorder while quantizing, at no cost later.
        act_order=order is True or order in ("group", "dynamic"),
        symmetric=symmetric,
        ignored=settings.texts("ignore"),
        packing=settings.text("format"),
        file=settings.file,
        raw=dict(settings.values),
    )


def _weights(settings: Fields) -> Fields | None:
    groups: Any = settings.values.get("config_groups")
    if groups is None:
        return None
    if not isinstance(groups, dict):
        raise settings.wrong("config_groups", "must be an object")
    for name, group in groups.items():
        if not isinstance(group, dict):
            raise settings.wrong(f"config_groups.{name}"[:100], "must be an object")
        weights = group.get("weights")
        if isinstance(weights, dict):
            return Fields(weights, settings.file, f"{settings.path}.config_groups.{name}"[:100])
    return None
