"""Reads typed fields out of an untrusted config; an error names the field by its path.

The language model's fields are those of the config itself, or of a part of it (`text_part`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from deployctl.errors import ModelError
from deployctl.model import tables

LARGEST = 2**40  # no count in a config comes near it
_PARTS, _OTHER_SENSES = tables.names("parts"), tables.names("other_senses")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_DEEPEST = 4
FILE = "config.json"


class Fields:
    """A mapping and its path, e.g. `config.json: text_config`."""

    def __init__(self, values: Mapping[str, Any], file: str, path: str = "") -> None:
        self.values, self.file, self.path = values, file, path

    def where(self, name: str) -> str:
        """The path that an error shows."""
        return f"{self.file}: {self.path}.{name}" if self.path else f"{self.file}: {name}"

    def first(self, names: Sequence[str]) -> tuple[str, Any] | None:
        """The first of `names` that is there and not null."""
        for name in names:
            value = self.values.get(name)
            if value is not None:
                return name, value
        return None

    def has(self, *names: str) -> bool:
        """Whether any of them is there and not null."""
        return self.first(names) is not None

    def under(self, name: str) -> "Fields | None":
        """A nested mapping; None where there is none."""
        value = self.values.get(name)
        if not isinstance(value, dict):
            return None
        return Fields(value, self.file, f"{self.path}.{name}" if self.path else name)

    def whole(
        self,
        *names: str,
        default: int | None = None,
        least: int = 1,
        most: int = LARGEST,
        lists: bool = False,
    ) -> int:
        """A whole number, by the first of its names; `lists` takes the largest of a list.

        Raises:
            ModelError: missing without a default, or no whole number from `least` to `most`.
        """
        entry = self.first(names)
        if entry is None:
            if default is None:
                raise ModelError(
                    "is missing", where=self.where(names[0]), hint="the file is not complete"
                )
            return default
        name, value = entry
        if lists and isinstance(value, list) and value:
            return max(self._check(name, item, least, most) for item in value)
        return self._check(name, value, least, most)

    def optional(self, *names: str, least: int = 1, most: int = LARGEST) -> int | None:
        """A whole number, or None where it is missing or null.

        Raises:
            ModelError: it is there, and is not a whole number from `least` to `most`.
        """
        if self.first(names) is None:
            return None
        return self.whole(*names, least=least, most=most)

    def number(self, name: str) -> float | None:
        """A positive number, or None where it is missing or null.

        Raises:
            ModelError: it is there, and is no positive number.
        """
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < LARGEST:
            raise self.wrong(name, f"must be a positive number, not {shown(value)}")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false.

        Raises:
            ModelError: it is there, and is neither.
        """
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, f"must be true or false, not {shown(value)}")
        return value

    def text(self, *names: str) -> str | None:
        """A text, or None where it is missing or null.

        Raises:
            ModelError: it is there, and is no text of one line.
        """
        entry = self.first(names)
        if entry is None:
            return None
        name, value = entry
        if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
            raise self.wrong(name, f"must be a line of text, not {shown(value)}")
        return value

    def texts(self, *names: str) -> tuple[str, ...]:
        """A list of texts; empty where it is missing or null.

        Raises:
            ModelError: it is there, and is something else.
        """
        entry = self.first(names)
        if entry is None:
            return ()
        name, value = entry
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(name, f"must be a list of texts, not {shown(value)}")
        return tuple(value)

    def wrong(self, name: str, message: str) -> ModelError:
        """The error for a field that holds something impossible."""
        return ModelError(message, where=self.where(name), hint="compare with the published file")

    def _check(self, name: str, value: Any, least: int, most: int) -> int:
        if type(value) is not int:
            raise self.wrong(name, f"must be a whole number, not {shown(value)}")
        if not least <= value <= most:
            raise self.wrong(name, f"must be from {least} to {most}, not {shown(value)}")
        return value


def count(raw: Mapping[str, Any], *names: str, default: int = 0) -> int:
    """The first of `names` that holds a whole number from 0 to 2**40.

    For numbers that only planning wants: what is wrong counts as absent. Products stay finite.
    """
    for name in names:
        value = raw.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST:
            return value
    return default


def most_pixels(processor: Mapping[str, Any]) -> int:
    """Pixels of the largest image that a processor of Qwen's takes; 0 where it does not say.

    `max_pixels`, else what is said under `size` (vllm/model_executor/models/qwen2_vl.py,
    get_image_size_with_most_features; that `longest_edge` is an area there).
    """
    size = processor.get("size")
    inner = size if isinstance(size, Mapping) else {}
    return count(processor, "max_pixels", default=count(inner, "longest_edge", "max_pixels"))


def shown(value: Any) -> str:
    """A value as an error may show it: short, on one line, in ASCII."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number of more than 30 digits"
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


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
