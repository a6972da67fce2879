"""A checkpoint's own documents -> ModelFacts. Pure: no file, no network."""

from deployctl.model.build import facts_from
from deployctl.model.documents import Documents, TensorInfo
from deployctl.model.facts import Architecture, ModelFacts, Quantization

__all__ = ["Architecture", "Documents", "ModelFacts", "Quantization", "TensorInfo", "facts_from"]
