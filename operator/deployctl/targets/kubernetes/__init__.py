"""The target `kubernetes`: a release of deployctl is a release of Helm, made from the chart."""

from deployctl.targets.kubernetes.driver import KubernetesDriver
from deployctl.targets.kubernetes.shelf import ClusterShelf
from deployctl.targets.kubernetes.survey import KubernetesView

__all__ = ["ClusterShelf", "KubernetesDriver", "KubernetesView"]
