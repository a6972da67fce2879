"""A checkpoint's own documents -> ModelFacts. Pure: no file, no network."""

from deployctl.model.build import facts_from
from deployctl.model.facts import Architecture, Documents, ModelFacts, Quantization, TensorInfo

__all__ = ["Architecture", "Documents", "ModelFacts", "Quantization", "TensorInfo", "facts_from"]
