"""Sizes and durations: the only place that reads or writes them as text."""

import re

from deployctl.errors import InputError

GIB = 1024**3
MIB = 1024**2

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SHOWN = 40  # characters of what is none
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_QUANTITY = re.compile(
    r"(?P<number>[+-]?(\d+(\.\d*)?|\.\d+))(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE][+-]?\d{1,2})?"
)
_SCALE = {
    **{unit: 1000.0**power for power, unit in enumerate(("n", "u", "m", "", *"kMGTPE"), start=-3)},
    **{f"{unit}i": 1024.0**power for power, unit in enumerate("KMGTPE", start=1)},
}


def seconds(text: str) -> float:
    """Reads `500ms`, `90`, `30s`, `10m`, `1h30m` as seconds.

    Raises:
        ValueError: the text is no duration.
    """
    stripped = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", stripped):
        return float(stripped)
    # As a whole first: to find a part in many digits takes their square.
    if not re.fullmatch(f"({_DURATION.pattern})+", stripped):
        said = repr(text[:_SHOWN])
        raise ValueError(f"{said} is not a duration; write for example 500ms, 30s or 10m")
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(stripped))


def seconds_of(text: str, flag: str, *, least: float = 0.0) -> float:
    """As `seconds`, of what a flag or a request says.

    Raises:
        InputError: at `flag`: it is no duration, or shorter than `least`.
    """
    try:
        value = seconds(text)
    except ValueError as error:
        raise InputError(str(error), where=flag) from error
    if value < least:
        raise InputError(f"{text} is less than {least:g} s", where=flag)
    return value


def duration(value: float) -> str:
    """Writes seconds for a person: `850 ms`, `4.2 s`, `1 min 30 s`, `2 h 05 min`."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(value: float) -> str:
    """Writes bytes for a person, in binary units: `1.5 GiB`."""
    for unit, scale in (("GiB", GIB), ("MiB", MIB), ("KiB", 1024)):
        if abs(value) >= scale:
            return f"{value / scale:.1f} {unit}"
    return f"{value:.0f} B"


def quantity(value: object) -> float | None:
    """Reads a Kubernetes quantity: `500m`, `16Gi`, 2. None when it is not one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e30 else None
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) and len(value) < 64 else None
    if match is None:
        return None
    suffix = match["suffix"] or ""
    scale = _SCALE[suffix] if suffix in _SCALE else 10.0 ** int(suffix[1:])  # or an exponent
    return float(match["number"]) * scale
