"""Where services run. One driver a target; `rollout` is the same for all of them."""

from typing import assert_never

from deployctl.spec import TargetKind
from deployctl.spec.settings import Settings
from deployctl.targets.driver import Driver

__all__ = ["Driver", "open_driver"]


def open_driver(target: TargetKind, settings: Settings) -> Driver:
    """Opens the driver of a target; only its module, and what that needs, is imported."""
    if target == "docker":
        from deployctl.targets.docker import DockerDriver

        return DockerDriver(settings)
    if target == "process":
        from deployctl.targets.process import ProcessDriver

        return ProcessDriver(settings)
    assert_never(target)
