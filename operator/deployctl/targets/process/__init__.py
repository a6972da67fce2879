"""Target `process`: vLLM as a supervised local process."""

from deployctl.targets.process.replicas import ProcessDriver

__all__ = ["ProcessDriver"]
