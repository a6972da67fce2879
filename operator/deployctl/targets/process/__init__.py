"""Target `process`: vLLM as a supervised local process."""

from deployctl.targets.process.driver import ProcessDriver

__all__ = ["ProcessDriver"]
