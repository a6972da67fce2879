"""Monitoring of a host's own: a Compose project with Prometheus, Alertmanager, Grafana and
exporters.

All of it is in the host's network and listens on loopback alone: so it reaches services that do,
and belongs to no service's network, which `down` removes.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from deployctl import assets
from deployctl.engines.vllm import exported
from deployctl.render.bundle import LOOPBACK
from deployctl.render.compose import COMPOSE_FILE, LABEL, bind_mount, volume_mount
from deployctl.render.monitoring import alertmanager, grafana
from deployctl.render.monitoring.prometheus import (
    HOST_RULES,
    INTERVAL_S,
    PROBE_FILE,
    Watched,
    gateway_jobs,
    host_rules,
    probe_jobs,
    probe_module,
    rules,
    scrape_job,
)
from deployctl.render.yamltext import write, write_compose
from deployctl.spec.receivers import AnyReceiver, Receivers

PROJECT = "deployctl_monitoring"  # no service's: their names have no underscore
SECRETS = "secrets"  # of the project: a folder for each part, which sees no other's
PASSWORD = "admin_password"  # noqa: S105  the name of Grafana's file
STATE_LABEL = LABEL + "state"  # of every container: the state folder that it belongs to
PORT_LABEL = LABEL + "port"  # of every container: where it listens
CARDS = "dcgm-exporter"  # the part for hosts with cards
CERTIFICATES = "blackbox-exporter"  # and for gateways with certificates
RETENTION = ("15d", "8GB")  # whichever is less
_SECRETS = "/run/secrets"
_BOARDS = "/etc/deployctl/dashboards"
# Mounts that are no disks of the host's: three files of its own are mounted into each container.
_FILESYSTEMS = (
    "^/(dev|proc|sys|run/docker/.+|var/lib/docker/.+|var/lib/containers/.+"
    "|etc/(hosts|hostname|resolv[.]conf))($|/)"
)
_COLLECTORS = ("cpu", "diskstats", "filesystem", "loadavg", "meminfo", "netdev", "uname", "vmstat")


class StackSettings(BaseModel):
    """What is said of monitoring, and kept: ports, images, who is told."""

    model_config = ConfigDict(frozen=True)

    ports: dict[str, int] = {}  # by part, where another than its own
    images: dict[str, str] = {}
    receivers: Receivers = ()
    cards: bool = False  # whether a service had any, so that they are looked at
    certificates: bool = False  # the same of its gateway
    textfiles: str | None = None  # the folder of releases' and load tests' figures, where there is

    def port(self, part: str) -> int:
        """On which port a part listens."""
        return self.ports.get(part, int(parts()[part]["port"]))

    def image(self, part: str) -> str:
        """A part's image."""
        return self.images.get(part, str(parts()[part]["image"]))

    def url(self, part: str) -> str:
        """A part's address on its host."""
        return f"http://{LOOPBACK}:{self.port(part)}"

    @property
    def parts(self) -> list[str]:
        """The parts that run."""
        wanted = {CARDS: self.cards, CERTIFICATES: self.certificates}
        return [part for part in parts() if wanted.get(part, True)]

    def unseen(self, services: Sequence[Watched]) -> list[str]:
        """What these have and no part here looks at, by the names of the fields above."""
        there = {
            "cards": any(each.plan.accelerator == "cuda" for each in services),
            "certificates": any(each.spec.domain for each in services),
        }
        return [name for name, has in there.items() if has and not getattr(self, name)]

    def seeing(self, services: Sequence[Watched]) -> "StackSettings":
        """With what looks at that, too. What was there once stays."""
        return self.model_copy(update=dict.fromkeys(self.unseen(services), True))


def parts() -> Mapping[str, dict[str, Any]]:
    """Every part by name: image, port, page that tells that it is ready, memory, user."""
    table: dict[str, dict[str, Any]] = assets.table("deploy", "monitoring", "parts.yaml")
    return table


def secret_file(receiver: AnyReceiver, field: str) -> str:
    """The name of a receiver's secret in the project."""
    return f"{receiver.name}.{field}"


def stack_files(
    services: Sequence[Watched], settings: StackSettings, state_dir: str
) -> dict[str, str]:
    """The project's files by path: the same for the same services and settings."""
    versions = [each.plan.engine.version for each in services] or [exported.newest()]
    sources = grafana.datasources(
        settings.url("prometheus"), settings.url("alertmanager"), default=True
    )
    files = {
        "prometheus/prometheus.yaml": _written(_prometheus(services, settings)),
        f"prometheus/rules/{HOST_RULES}": _written(host_rules(versions[0])),
        "alertmanager/alertmanager.yaml": _written(
            alertmanager.configuration(settings.receivers, _in_container)
        ),
        "grafana/provisioning/datasources/deployctl.yaml": _written(sources),
        "grafana/provisioning/dashboards/deployctl.yaml": _written(grafana.provider(_BOARDS)),
        f"{CARDS}/counters.csv": _counters(),
        f"{CERTIFICATES}/{PROBE_FILE}": _written(probe_module()),
    }
    files |= {f"prometheus/rules/{w.plan.name}.yaml": _written(rules(w)) for w in services}
    files |= {f"grafana/dashboards/{name}": t for name, t in grafana.boards(services).items()}
    # What Grafana reads at its start alone has it start anew.
    digest = hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]
    labels = {STATE_LABEL: state_dir, LABEL + "digest": digest}
    document = {
        "name": PROJECT,
        "services": {part: _service(part, settings, labels) for part in settings.parts},
        "volumes": {name: {} for name in ("prometheus", "alertmanager", "grafana")},
    }
    comment = "Rendered by deployctl up --with-monitoring, which writes it again."
    return {COMPOSE_FILE: write_compose(document, comment), **files}


def token_file(service: str) -> str:
    """A service's operator token, as Prometheus sees it."""
    return f"{_SECRETS}/{service}"


def _written(document: dict[str, Any]) -> str:
    return write(document, "Rendered by deployctl up --with-monitoring, which writes it again.")


def _in_container(receiver: AnyReceiver, field: str, _: Path) -> str:
    return f"{_SECRETS}/{secret_file(receiver, field)}"


def _prometheus(services: Sequence[Watched], settings: StackSettings) -> dict[str, Any]:
    own = [part for part in settings.parts if part != "grafana"]
    return {
        "global": {"scrape_interval": f"{INTERVAL_S}s", "evaluation_interval": f"{INTERVAL_S}s"},
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [_at(settings, "alertmanager")]}]}]
        },
        "rule_files": ["rules/*.yaml"],
        "scrape_configs": [
            *(scrape_job(watched) for watched in services),
            *gateway_jobs(services),
            *(probe_jobs(services, _at(settings, CERTIFICATES)) if settings.certificates else ()),
            *(
                {"job_name": part, "static_configs": [{"targets": [_at(settings, part)]}]}
                for part in own
            ),
        ],
    }


def _at(settings: StackSettings, part: str) -> str:
    return f"{LOOPBACK}:{settings.port(part)}"


def _counters() -> str:
    """What is read of cards: what our rules and dashboards ask for, none of it of profiling, which
    would need a capability."""
    listed = assets.table("deploy", "engines", "metrics-exporters.yaml")["dcgm"]["metrics"]
    beside = assets.table("deploy", "engines", "metrics-beside.yaml")
    found = {name: entry["t"] for name, entry in listed.items()}
    for group in beside.values():
        found |= {n: e["t"] for n, e in group.items() if n.startswith("DCGM_FI_DEV_")}
    return "".join(f"{name}, {kind}, {name}\n" for name, kind in sorted(found.items()))


def _service(part: str, settings: StackSettings, labels: Mapping[str, str]) -> dict[str, Any]:
    described = parts()[part]
    own = _OWN[part](settings)
    resources: dict[str, Any] = {"limits": {"memory": f"{described['memory']}m", "pids": 512}}
    if part == CARDS:
        card = {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
        resources["reservations"] = {"devices": [card]}
    return {
        "image": settings.image(part),
        **own,
        "labels": {**labels, PORT_LABEL: str(settings.port(part))},
        "network_mode": "host",
        "user": described["user"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "read_only": part != CARDS,  # NVIDIA's hook writes the driver's libraries into the root
        "tmpfs": ["/tmp:mode=1777,size=64m"],  # noqa: S108  inside the container
        "restart": "unless-stopped",
        "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
        "deploy": {"resources": resources},
    }


def _prometheus_part(settings: StackSettings) -> dict[str, Any]:
    time, size = RETENTION
    return {
        "command": [
            "--config.file=/etc/deployctl/prometheus/prometheus.yaml",
            "--storage.tsdb.path=/prometheus",
            f"--storage.tsdb.retention.time={time}",
            f"--storage.tsdb.retention.size={size}",
            f"--web.listen-address={_at(settings, 'prometheus')}",
        ],
        "volumes": [
            bind_mount("./prometheus", "/etc/deployctl/prometheus"),
            bind_mount(f"./{SECRETS}/prometheus", _SECRETS),
            volume_mount("prometheus", "/prometheus"),
        ],
    }


def _alertmanager_part(settings: StackSettings) -> dict[str, Any]:
    return {
        "command": [
            "--config.file=/etc/deployctl/alertmanager/alertmanager.yaml",
            "--storage.path=/alertmanager",
            f"--web.listen-address={_at(settings, 'alertmanager')}",
            "--cluster.listen-address=",  # there is one: it need not listen for others
        ],
        "volumes": [
            bind_mount("./alertmanager", "/etc/deployctl/alertmanager"),
            bind_mount(f"./{SECRETS}/alertmanager", _SECRETS),
            volume_mount("alertmanager", "/alertmanager"),
        ],
    }


def _grafana_part(settings: StackSettings) -> dict[str, Any]:
    return {
        "environment": {
            "GF_SERVER_HTTP_ADDR": LOOPBACK,
            "GF_SERVER_HTTP_PORT": str(settings.port("grafana")),
            "GF_SECURITY_ADMIN_USER": "admin",
            "GF_SECURITY_ADMIN_PASSWORD__FILE": f"{_SECRETS}/{PASSWORD}",
            "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": f"{_BOARDS}/service.json",
            "GF_USERS_ALLOW_SIGN_UP": "false",
            "GF_LOG_MODE": "console",
            # It asks nobody outside: not who uses it, not what is new, not for plug-ins.
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
            "GF_NEWS_NEWS_FEED_ENABLED": "false",
            "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        },
        "volumes": [
            bind_mount("./grafana/provisioning", "/etc/grafana/provisioning"),
            bind_mount("./grafana/dashboards", _BOARDS),
            bind_mount(f"./{SECRETS}/grafana", _SECRETS),
            volume_mount("grafana", "/var/lib/grafana"),
        ],
    }


def _node_part(settings: StackSettings) -> dict[str, Any]:
    return {
        "command": [
            "--path.rootfs=/host",
            f"--web.listen-address={_at(settings, 'node-exporter')}",
            "--collector.disable-defaults",
            *(f"--collector.{name}" for name in _COLLECTORS),
            *_textfiles(settings),
            f"--collector.filesystem.mount-points-exclude={_FILESYSTEMS}",
        ],
        # Not as a slave, which not every host's root can have: a disk that is mounted later is seen
        # by its next start.
        "volumes": [bind_mount("/", "/host")],
    }


def _textfiles(settings: StackSettings) -> list[str]:
    """Of a folder that node-exporter's user may read, as it sees the host."""
    if settings.textfiles is None:
        return []
    return ["--collector.textfile", f"--collector.textfile.directory=/host{settings.textfiles}"]


def _cards_part(settings: StackSettings) -> dict[str, Any]:
    return {
        "command": ["-f", "/etc/deployctl/counters.csv", "-a", _at(settings, CARDS)],
        "volumes": [bind_mount(f"./{CARDS}", "/etc/deployctl")],
    }


def _certificates_part(settings: StackSettings) -> dict[str, Any]:
    return {
        "command": [
            f"--config.file=/etc/deployctl/{PROBE_FILE}",
            f"--web.listen-address={_at(settings, CERTIFICATES)}",
        ],
        "volumes": [bind_mount(f"./{CERTIFICATES}", "/etc/deployctl")],
    }


_OWN = {
    "prometheus": _prometheus_part,
    "alertmanager": _alertmanager_part,
    "grafana": _grafana_part,
    "node-exporter": _node_part,
    CARDS: _cards_part,
    CERTIFICATES: _certificates_part,
}
