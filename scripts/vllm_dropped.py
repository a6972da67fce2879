"""The architectures that a vLLM release serves no longer, from its source, which is never imported.

Read is the table of its registry with which the engine says so: a model's class, and the last
release that had it.
"""

import ast
from pathlib import Path

_TABLE = "_PREVIOUSLY_SUPPORTED_MODELS"


def dropped_of(package: Path) -> dict[str, str]:
    """The last release that served an architecture, by its name; empty before there is a table."""
    file = package / "model_executor/models/registry.py"
    # Where it has moved, all that is known of the release before would go, which is refused.
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    for node in ast.parse(text).body:
        names = [t.id for t in getattr(node, "targets", ()) if isinstance(t, ast.Name)]
        if isinstance(node, ast.Assign) and _TABLE in names:
            return {str(name): str(last) for name, last in ast.literal_eval(node.value).items()}
    return {}
