"""GpuProfile, loaded from deploy/profiles/*.yaml or a user's file; reads nvidia-smi's output."""

from deployctl.hardware.profiles import (
    GpuProfile,
    Interconnect,
    all_profiles,
    load_profile,
    mig_slice,
    own_profiles,
    slices_of,
)

__all__ = [
    "GpuProfile",
    "Interconnect",
    "all_profiles",
    "load_profile",
    "mig_slice",
    "own_profiles",
    "slices_of",
]
