"""Schemas of custom resources that a service may come with: deploy/kubernetes/schemas, as data.

scripts/crds.py writes them from the operators' own definitions. The metadata of an object is
held against Kubernetes' definition of it, by reference.
"""

import json
import re
from functools import cache
from typing import Any

from deployctl import assets

# The release of a dialect that the files are written in, and the place that their references to
# Kubernetes' definitions start from.
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ID = "https://kubernetes.io/api/custom"
_NAME = re.compile(r"[a-z0-9.-]+_[a-z0-9]+")


@cache
def document(group: str, kind: str) -> dict[str, Any] | None:
    """What is known of a kind: `source`, `versions`, `schema`; None when it is not known."""
    name = f"{group}_{kind}".lower()
    if not _NAME.fullmatch(name):
        return None
    try:
        text = assets.path("deploy", "kubernetes", "schemas", f"{name}.json").read_text("utf-8")
    except FileNotFoundError:
        return None
    found: dict[str, Any] = json.loads(text)
    found["schema"] |= {"$schema": _DIALECT, "$id": _ID}
    return found


def referring(definition: str) -> dict[str, Any]:
    """A schema that is one of Kubernetes' definitions."""
    return {"$schema": _DIALECT, "$id": _ID, "$ref": f"/api/_definitions.json#/$defs/{definition}"}
