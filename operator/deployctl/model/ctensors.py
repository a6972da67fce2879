"""compressed-tensors, the format of llm-compressor: settings by groups of layers."""

from typing import Any

from deployctl.model.facts import Quantization
from deployctl.model.fields import Fields


def read(found: Fields) -> Quantization:
    """Reads the first group that says how weights are stored; the others are in `raw`.

    Raises:
        ModelError: a field says something impossible.
    """
    weights = _weights(found)
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
        ignored=found.texts("ignore"),
        packing=found.text("format"),
        file=found.file,
        raw=dict(found.values),
    )


def _weights(found: Fields) -> Fields | None:
    groups: Any = found.values.get("config_groups")
    if groups is None:
        return None
    if not isinstance(groups, dict):
        raise found.wrong("config_groups", "must be an object")
    for name, group in groups.items():
        if not isinstance(group, dict):
            raise found.wrong(f"config_groups.{name}"[:100], "must be an object")
        weights = group.get("weights")
        if isinstance(weights, dict):
            return Fields(weights, found.file, f"{found.path}.config_groups.{name}"[:100])
    return None
