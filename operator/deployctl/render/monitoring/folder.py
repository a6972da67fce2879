"""A folder for a Prometheus, an Alertmanager and a Grafana that run already: rules, what to scrape,
who is told, data sources and dashboards; and a page that says how each is included.
"""

from collections.abc import Sequence
from string import Template
from typing import Any

from deployctl import assets
from deployctl.engines.vllm.versions import key
from deployctl.render import door
from deployctl.render.bundle import LOOPBACK, NOT_COMMITTED, behind_gateway
from deployctl.render.monitoring import alertmanager, grafana
from deployctl.render.monitoring.prometheus import (
    HOST_RULES,
    PROBE_FILE,
    PROBE_PORT,
    Watched,
    gateway_jobs,
    host_rules,
    probe_jobs,
    probe_module,
    rules,
    scrape_job,
)
from deployctl.render.yamltext import write
from deployctl.spec.receivers import Receivers

TOKENS = "secrets"  # the folder for the services' operator tokens: a file each, by its name
_BOARDS = "/var/lib/grafana/dashboards/deployctl"


def monitoring_folder(services: Sequence[Watched], receivers: Receivers) -> dict[str, str]:
    """Every file by its path. A token's file is `../secrets/NAME`, as Prometheus reads it: from
    where its own file is."""
    newest = max((each.plan.engine.version for each in services), key=key)
    probes = probe_jobs(services, f"{LOOPBACK}:{PROBE_PORT}")
    files = {
        "prometheus/scrape.yaml": _written(
            {"scrape_configs": [*map(scrape_job, services), *gateway_jobs(services), *probes]},
            "For scrape_config_files of prometheus.yml.",
        ),
        f"prometheus/rules/{HOST_RULES}": _written(
            host_rules(newest), "For rule_files of prometheus.yml: of machines and gateways."
        ),
        "alertmanager/alertmanager.yaml": _written(
            alertmanager.configuration(receivers),
            "For Alertmanager 0.28 or newer.\n" + _said(receivers),
        ),
        "grafana/provisioning/datasources/deployctl.yaml": _written(
            grafana.datasources("http://127.0.0.1:9090", "http://127.0.0.1:9093", default=False),
            "For provisioning/datasources of Grafana, where it has none of these yet.",
        ),
        "grafana/provisioning/dashboards/deployctl.yaml": _written(
            grafana.provider(_BOARDS), "For provisioning/dashboards of Grafana."
        ),
        f"{TOKENS}/.gitignore": NOT_COMMITTED,
        "README.md": _page(services, receivers),
    }
    for each in services:
        said = f"For rule_files of prometheus.yml: the service {each.plan.name}."
        files[f"prometheus/rules/{each.plan.name}.yaml"] = _written(rules(each), said)
    if probes:
        files[f"blackbox/{PROBE_FILE}"] = _written(
            probe_module(), "For --config.file of blackbox-exporter, or into its own."
        )
    for name, text in grafana.boards(services).items():
        files[f"grafana/dashboards/{name}"] = text
    return files


def token_file(service: str) -> str:
    """The file of a service's operator token, from where scrape.yaml is."""
    return f"../{TOKENS}/{service}"


def _written(document: dict[str, Any], comment: str) -> str:
    return write(document, f"Rendered by deployctl. {comment}")


def _said(receivers: Receivers) -> str:
    if unheard := alertmanager.unheard(receivers):
        return f"Nobody is told of alerts of severity {' and '.join(unheard)}."
    return "Secrets are files that Alertmanager's own user can read."


def _page(services: Sequence[Watched], receivers: Receivers) -> str:
    text = assets.path("deploy", "monitoring", "folder.md").read_text(encoding="utf-8")
    guarded = [each for each in services if door.has_door(each.plan.engine.version)]
    tokens = "\n".join(
        f"install -m 440 -g prometheus $STATE/{_kept(each)}/operator_token {TOKENS}/"
        f"{each.plan.name}"
        for each in guarded
    )
    versions = sorted({each.plan.engine.version for each in services})
    return Template(text).substitute(
        services="\n".join(
            f"| `{each.plan.name}` | {', '.join(f'`{at}`' for at in each.addresses)} | "
            f"vLLM {each.plan.engine.version} |"
            for each in services
        ),
        tokens=tokens or "# no service has a door",
        certificates=_certificates(services),
        moves=_moves(services),
        boards=_BOARDS,
        versions=" and ".join(versions),
        receivers="\n".join(
            f"| `{each.name}` | {each.kind} | {each.severity or 'all'} | "
            f"{', '.join(f'`{path}`' for path in each.secrets.values()) or '-'} |"
            for each in receivers
        )
        or "| none | | | |",
        unheard=_said(receivers),
    )


def _moves(services: Sequence[Watched]) -> str:
    """Which of them another engine may take over, at a port that nobody knows before."""
    told = [
        f"`{each.plan.name}`"
        for each in services
        if each.spec.target == "process" and behind_gateway(each.plan, each.spec)
    ]
    if not told:
        return ""
    return (
        f"\nAn update of {', '.join(told)} may come up beside the one that serves, and stays at "
        "its own port then, where this\nPrometheus does not look: say `up --beside no`.\nTheir "
        "gateway is looked at where `--monitor-port process=N` says what `gateway/monitor_port` "
        "of the state folder has.\n"
    )


def _certificates(services: Sequence[Watched]) -> str:
    if not any(each.spec.domain for each in services):
        return "No service has a certificate to look at."
    return (
        f"Certificates are looked at by a blackbox-exporter (0.24 or newer) at {LOOPBACK}:"
        f"{PROBE_PORT}, whose\n`--config.file` is `blackbox/{PROBE_FILE}`: Debian's is "
        "`prometheus-blackbox-exporter`. An older one asks for no domain,\nand is shown no "
        "certificate."
    )


def _kept(watched: Watched) -> str:
    return f"{watched.spec.target or 'docker'}/{watched.plan.name}"
