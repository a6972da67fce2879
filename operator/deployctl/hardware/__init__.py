"""GpuProfile, loaded from deploy/profiles/*.yaml or a user's file; reads nvidia-smi's output."""

from deployctl.hardware.catalogue import all_profiles, load_profile
from deployctl.hardware.profile import GpuProfile, Interconnect

__all__ = ["GpuProfile", "Interconnect", "all_profiles", "load_profile"]
