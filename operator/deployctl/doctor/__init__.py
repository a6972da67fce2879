"""Looks at this machine: which GPU it has, and whether it is fit to serve.

Probes touch the world and fill `HostFacts`; checks are pure functions over it.
"""

from deployctl.doctor.detect import detect_profile, with_memory

__all__ = ["detect_profile", "with_memory"]
