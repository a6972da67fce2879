"""Load from inside the cluster: Locust's master and workers as Jobs, which come and go with a run.

`documents` are the objects, pure; `pods` brings them up and takes them away; `mirror` brings home
what the master writes. In the pods runs `deployctl_loadtest.pod`.
"""

from deployctl.targets.kubernetes.load.pods import LoadPods

__all__ = ["LoadPods"]
