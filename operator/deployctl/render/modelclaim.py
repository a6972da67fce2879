"""The claim that a local folder's checkpoint is brought onto: named after its content, so that a
folder is sent once to a namespace, and shared by all that serve it. Pure.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deployctl.render import yamltext
from deployctl.render.bundle import VALUES_FILE, Bundle
from deployctl.units import GIB

if TYPE_CHECKING:
    from deployctl.render.values import Values

SHARED = "ReadWriteMany"
_SPARE = 1.05  # of the file system's own
_NAME_DIGITS = 16


def access_mode(values: "Values") -> str:
    """What the values say, else one node's for one replica, and all nodes' for more."""
    scaled = values.autoscaling.kind != "none"
    most = values.autoscaling.max_replicas if scaled else values.replicas
    return values.model.upload.access_mode or (SHARED if most > 1 else "ReadWriteOnce")


def claim_name(values: "Values") -> str:
    """The claim for `model.digest`. A claim's access mode cannot be changed: another mode is
    another claim."""
    end = "-shared" if access_mode(values) == SHARED else ""
    return f"model-{values.model.digest[:_NAME_DIGITS]}{end}"


def claim_size(values: "Values", stored: int) -> str:
    """What is asked for, for files of `stored` bytes."""
    return values.model.upload.size or f"{math.ceil(stored * _SPARE / GIB) + 1}Gi"


def brought(bundle: Bundle) -> "Values | None":
    """The values of a bundle whose checkpoint `up` brings onto a claim; None of any other."""
    document = yamltext.read(bundle.files.get(VALUES_FILE, "")) or {}
    if not (document.get("model") or {}).get("digest"):
        return None
    from deployctl.render.values import Values  # a large model: slow to import

    return Values.model_validate(_without_nulls(document))


def _without_nulls(document: Mapping[str, Any]) -> dict[str, Any]:
    """Without what takes a default of the chart's away, which is none of a model's business."""
    return {
        key: _without_nulls(value) if isinstance(value, Mapping) else value
        for key, value in document.items()
        if value is not None
    }
