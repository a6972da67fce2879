"""GpuProfile, loaded from deploy/profiles/*.yaml or a user's file; reads nvidia-smi's output."""

from deployctl.hardware.profile import GpuProfile

__all__ = ["GpuProfile"]
