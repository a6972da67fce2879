"""ServingPlan -> Bundle: the files of one target. Pure."""

from deployctl.render.bundle import Bundle
from deployctl.render.compose import render_compose
from deployctl.render.process import render_process

__all__ = ["Bundle", "render_compose", "render_process"]
