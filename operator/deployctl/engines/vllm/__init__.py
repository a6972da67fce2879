"""vLLM: flags and defaults by version, what its log says, what its metrics are called."""

DEFAULT_VERSION = "0.32.0"
