"""Bundle: the rendered files of one service for one target."""

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict

from deployctl.spec import TargetKind

BundleKind = Literal[TargetKind, "helm", "manifests"]  # of these, a driver runs a TargetKind
VALUES_FILE = "values.yaml"  # of a bundle of target helm


class Bundle(BaseModel):
    """Rendered files, by path inside the bundle. The same plan gives the same bytes."""

    model_config = ConfigDict(frozen=True)

    target: BundleKind
    service: str
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """Names the content: equal digests run the same thing."""
        text = json.dumps([self.target, self.service, self.files], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
