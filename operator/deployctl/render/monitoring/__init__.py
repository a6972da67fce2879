"""What watches services on hosts, from one source: files for a Prometheus, an Alertmanager and a
Grafana that run already, and a Compose project of our own with all three. Pure.
"""

from deployctl.render.monitoring.folder import monitoring_folder
from deployctl.render.monitoring.project import monitoring_files
from deployctl.render.monitoring.prometheus import Watched

__all__ = ["Watched", "monitoring_files", "monitoring_folder"]
