"""Where services run. One driver a target; `rollout` is the same for all of them."""

from deployctl.render.bundle import TargetKind
from deployctl.spec import Settings
from deployctl.targets.driver import Driver

__all__ = ["Driver", "open_driver"]


def open_driver(kind: TargetKind, settings: Settings) -> Driver:
    """Opens the driver of a target; only its module, and what that needs, is imported."""
    if kind == "docker":
        from deployctl.targets.docker import DockerDriver

        return DockerDriver(settings)
    from deployctl.targets.process import ProcessDriver

    return ProcessDriver(settings)
