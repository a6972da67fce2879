"""ServingPlan -> Bundle: the files of one target. Pure."""

from deployctl.render.bundle import Bundle

__all__ = ["Bundle"]
