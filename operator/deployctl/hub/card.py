"""A model card's metadata: the YAML before the text of README.md."""

from typing import Any

MAX_CARD = 256 * 1024  # bytes: the metadata comes first
_MAX_NAMES = 8
_MAX_VALUES = 20_000
_FENCE = "---"


def metadata(text: str) -> dict[str, Any]:
    """The fields before a card's text; nothing where there are none, or they are no YAML."""
    lines = text.lstrip("\ufeff").splitlines()
    if not lines or lines[0].strip() != _FENCE:
        return {}
    end = next((n for n, line in enumerate(lines[1:], 1) if line.strip() == _FENCE), None)
    if end is None:
        return {}
    from deployctl.boundedyaml import parse  # YAML takes long to import

    documents, _ = parse("\n".join(lines[1:end]), most=_MAX_VALUES)
    fields = documents[0].data if documents else {}
    return fields if isinstance(fields, dict) else {}


def base_models(fields: Any) -> tuple[str, ...]:
    """The models that a card says its own was made of: Hub ids."""
    named = fields.get("base_model") if isinstance(fields, dict) else None
    listed = named if isinstance(named, list) else [named]
    names = [name for name in listed if isinstance(name, str) and name.isprintable()]
    return tuple(name[:200] for name in names[:_MAX_NAMES])
