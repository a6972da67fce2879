"""Target `process`: vLLM as a supervised local process."""
