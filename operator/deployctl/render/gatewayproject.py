"""The gateway of a Docker host as a Compose project: Caddy in a container, before the engines of
its network. Pure.

Its files are in a volume (`targets.docker.gateway` writes them), so that they are where it is, and
nothing of a state folder is mounted. It is in two networks: its own, by which its ports are
published and certificates asked for, and `engines`, from which nothing gets out.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from deployctl import assets
from deployctl.render import gateway as rendered
from deployctl.render.bundle import LOOPBACK
from deployctl.render.caddy import THREADS
from deployctl.render.compose import (
    COMPOSE_FILE,
    GATEWAY_NETWORK,
    LABEL,
    UID,
    published,
    volume_mount,
)
from deployctl.render.gateway import MOST_FILES, GatewayEntry
from deployctl.render.yamltext import write_compose

PROJECT = "deployctl_gateway"  # no service's: their names have no underscore
CADDY = "caddy"
VOLUME = f"{PROJECT}_files"
FOLDER = "/gateway"  # where the container has it
BY_HAND = "gateway"  # folder of `by_hand`
PORTS_LABEL = LABEL + "published"
_FILES = "files"
# Whoever hangs is ended, and started again by Docker: three times in a row that it is late.
_LATE = "/tmp/late"  # noqa: S108  inside the container
_HEALTH = """\
if wget -q -T 5 -O /dev/null http://127.0.0.1:{port}/health; then rm -f {late}; exit 0; fi
echo >> {late}
[ "$(wc -l < {late})" -lt 3 ] || {{ rm -f {late}; kill -KILL "$(cat {pid})"; }}
exit 1
"""


def default_image() -> str:
    """Caddy's official image."""
    return str(assets.table("deploy", "gateway", "caddy.yaml")["image"])


def ports(entries: Iterable[GatewayEntry], monitor_port: int) -> list[str]:
    """What it publishes, as ADDRESS:PORT: the monitor on loopback alone."""
    found = {f"{each.host}:{each.port}" for each in entries}
    return sorted({*found, f"{LOOPBACK}:{monitor_port}"})


def by_hand(wanted: GatewayEntry) -> dict[str, str]:
    """The gateway with one service, for whoever starts it by hand, by path: its Compose file, and
    what its volume is to hold before."""
    entry, port = wanted.model_copy(update={"root": True}), rendered.MONITOR_PORT
    service = entry.service
    held = {
        "caddy.json": rendered.configuration([entry], monitor_port=port, contained=True),
        "monitor_port": str(port),
        f"services/{service}.json": entry.model_dump_json(indent=1),
        **{
            f"{rendered.UPSTREAMS}/{name}": rendered.upstream(service, number)
            for number, name in enumerate(entry.upstreams)
        },
    }
    compose = project(ports([entry], port), port, default_image())
    files = {f"{BY_HAND}/files/{path}": text for path, text in held.items()}
    return {f"{BY_HAND}/{COMPOSE_FILE}": compose, **files}


def project(addresses: Sequence[str], monitor_port: int, image: str) -> str:
    """The Compose file of a gateway that publishes these addresses: the same, the same bytes."""
    pid = "/tmp/caddy.pid"  # noqa: S108  inside the container
    health = _HEALTH.format(port=monitor_port, late=_LATE, pid=pid)
    caddy: dict[str, Any] = {
        "image": image,
        "entrypoint": ["caddy"],
        "command": ["run", "--config", "caddy.json", "--pidfile", pid],
        "working_dir": FOLDER,
        "environment": {
            "HOME": "/tmp",  # noqa: S108  inside the container
            "XDG_DATA_HOME": f"{FOLDER}/data",
            "XDG_CONFIG_HOME": f"{FOLDER}/data",
            # Docker gives containers the proxy that its own configuration names, and Caddy would
            # ask engines by that, with their keys. Authorities are asked by HTTPS_PROXY.
            "HTTP_PROXY": "",
            "http_proxy": "",
            **THREADS,
        },
        "labels": {PORTS_LABEL: ",".join(addresses)},
        "ports": [published(int(port), int(port), host) for host, port in map(_parts, addresses)],
        "networks": ["default", "engines"],
        # An engine that is away has no name here: it is no name of the host's domain either.
        "dns_search": ["."],
        "volumes": [volume_mount(_FILES, FOLDER)],
        "user": f"{UID}:{UID}",
        "cap_drop": ["ALL"],
        # The image's program is marked with it, and would not start without; it is not used.
        "cap_add": ["NET_BIND_SERVICE"],
        "security_opt": ["no-new-privileges:true"],
        "read_only": True,
        "tmpfs": ["/tmp:mode=1777,size=16m"],  # noqa: S108  inside the container
        "init": True,
        "restart": "unless-stopped",
        "stop_grace_period": f"{rendered.GRACE_S}s",
        "healthcheck": {
            "test": ["CMD", "sh", "-c", health],
            "interval": "5s",
            "timeout": "10s",
            "retries": 2,
            "start_period": "10s",
        },
        "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
        "ulimits": {"nofile": MOST_FILES},
        "deploy": {"resources": {"limits": {"pids": 4096}}},
    }
    document = {
        "name": PROJECT,
        "services": {CADDY: caddy},
        "networks": {"engines": {"name": GATEWAY_NETWORK, "internal": True}},
        "volumes": {_FILES: {"name": VOLUME, "external": True}},
    }
    return write_compose(document, "Rendered by deployctl up --gateway, which writes it again.")


def _parts(address: str) -> tuple[str, str]:
    host, _, port = address.rpartition(":")
    return host, port
