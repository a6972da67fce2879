"""ServingPlan -> Bundle: the files of one target. Pure."""

from deployctl.render.bundle import Bundle
from deployctl.render.compose import render_compose
from deployctl.render.process import render_process

# deployctl.render.helm is imported where it is used: the chart's values are a large model, for
# which the other targets need not wait.
__all__ = ["Bundle", "render_compose", "render_process"]
