"""Builds the demo checkpoint: a small real model, quantized as AWQ or GPTQ would store it."""
