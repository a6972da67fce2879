"""deployctl: from a model id and a GPU name to a running, load-tested vLLM service."""

__version__ = "0.1.0"
