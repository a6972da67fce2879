"""A checkpoint of this machine on a claim of the cluster: sent once, checked, shared."""

from deployctl.targets.kubernetes.checkpoint.uploader import uploader_of

__all__ = ["uploader_of"]
