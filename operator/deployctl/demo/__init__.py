"""Builds the demo checkpoint: a small real model, quantized as AWQ or GPTQ would store it.

`quantize` is arithmetic, `source` finds the weights, `checkpoint` writes the folder. numpy is all
that the arithmetic needs; torch is never asked.
"""

from deployctl.demo.checkpoint import Built, Format, Size, build

__all__ = ["Built", "Format", "Size", "build"]
