"""What a model type says by itself, where config.json leaves it out.

The tables and their sources are in deploy/engines/model-types.json.
"""

import json
from typing import Any

from deployctl import assets

_TABLES: dict[str, Any] = json.loads(
    assets.path("deploy", "engines", "model-types.json").read_text(encoding="utf-8")
)
NESTED: dict[str, dict[str, int]] = _TABLES["nested"]
TIED = frozenset(_TABLES["tied"])
ATTENTION_FREE = frozenset(_TABLES["attention_free"])
MLA = frozenset(_TABLES["mla"])
NATIVE = frozenset(_TABLES["native"])


def defaults(model_type: str, *, nested: bool = False) -> dict[str, int]:
    """What absent fields mean for this type; more may be absent in a part of another config."""
    own: dict[str, int] = _TABLES["defaults"].get(model_type, {})
    return {**own, **NESTED.get(model_type, {})} if nested else own
