"""A checkpoint of this machine on a claim of the cluster: sent once, checked, shared."""

from deployctl.targets.kubernetes.checkpoint.uploader import being_sent, uploader_of

__all__ = ["being_sent", "uploader_of"]
