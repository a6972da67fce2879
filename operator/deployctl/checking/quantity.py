"""Kubernetes quantities and Compose sizes."""

import re

_QUANTITY = re.compile(
    r"[+-]?(?P<number>\d+(\.\d*)?|\.\d+)(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE][+-]?\d{1,2})?"
)
_SCALE = {
    "": 1.0,
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
    **{f"{unit}i": 1024.0**power for power, unit in enumerate("KMGTPE", start=1)},
}
_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[kmgt]?)(i?b)?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def quantity(value: object) -> float | None:
    """Reads a Kubernetes quantity: `500m`, `16Gi`, 2. None when it is not one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e30 else None
    found = _QUANTITY.fullmatch(value) if isinstance(value, str) and len(value) < 64 else None
    if found is None:
        return None
    sign = -1.0 if str(value).startswith("-") else 1.0
    suffix = found["suffix"] or ""
    scale = _SCALE.get(suffix)
    if scale is None:  # an exponent
        scale = 10.0 ** int(suffix[1:])
    return sign * float(found["number"]) * scale


def size(value: object) -> float | None:
    """Reads a Compose byte size: `64m`, `1gb`, 1073741824. None when it is not one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) and len(value) < 64 else None
    if found is None:
        return None
    power = " kmgt".index(found["unit"].lower()) if found["unit"] else 0
    return float(found["number"]) * 1024.0**power


def seconds(value: object) -> float | None:
    """Reads a Compose duration: `1m30s`. None when it is not one."""
    if isinstance(value, str) and 0 < len(value) < 64:
        parts = _DURATION.findall(value)
        if "".join(n + u for n, u in parts) == value:
            return float(sum(float(n) * _SECONDS[u] for n, u in parts))
    return None
