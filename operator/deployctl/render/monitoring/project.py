"""What a Prometheus that runs already is given for a Compose project: rules, and what to scrape.

Not part of the bundle: a better rule here must not make an engine run anew.
"""

from deployctl.planning.plan import ServingPlan
from deployctl.render import gateway
from deployctl.render.bundle import LOOPBACK, behind_gateway
from deployctl.render.compose import SECRETS_FOLDER
from deployctl.render.monitoring.prometheus import (
    Watched,
    gateway_jobs,
    host_rules,
    rules,
    scrape_job,
)
from deployctl.render.yamltext import write
from deployctl.spec import ServiceSpec

FOLDER = "monitoring"
_TOKEN = f"../{SECRETS_FOLDER}/operator_token"  # Prometheus looks from where the file is


def reached(
    plan: ServingPlan,
    spec: ServiceSpec,
    host: str,
    token_file: str,
    monitor_port: int = gateway.MONITOR_PORT,
) -> tuple[str, str, str]:
    """Where Prometheus finds the first engine of a Compose project on a host: its address, the
    token's file, and what stands before /metrics. Behind a gateway by that one's monitor."""
    if not behind_gateway(plan, spec):
        return f"{host}:{spec.port}", token_file, ""
    served = gateway.served if plan.replicas == 1 else gateway.inside
    return f"{host}:{monitor_port}", token_file, served(plan.name)


def monitoring_files(plan: ServingPlan, spec: ServiceSpec) -> dict[str, str]:
    """By path: `scrape.yaml` for Prometheus' `scrape_config_files`, the service's `rules.yaml`, and
    `host-rules.yaml`, which is the same for every service of a host, for its `rule_files`; behind a
    gateway `gateway-scrape.yaml`, which is the same for all behind it."""
    watched = Watched(plan, spec, *reached(plan, spec, LOOPBACK, _TOKEN))
    said = f"Rendered by deployctl for the service {plan.name}.\n"
    gateways = {"scrape_configs": gateway_jobs([watched])}
    once = write(
        gateways,
        "Rendered by deployctl, for scrape_config_files of Prometheus, once: of the gateway before "
        "all\nservices of this Docker engine. It is the same for every one.",
    )
    return {
        **({f"{FOLDER}/gateway-scrape.yaml": once} if gateways["scrape_configs"] else {}),
        f"{FOLDER}/scrape.yaml": write(
            {"scrape_configs": [scrape_job(watched)]},
            said + "For scrape_config_files of a Prometheus on this host. What reads the token is "
            "Prometheus'\nown user; in a container, 127.0.0.1 is another address.",
        ),
        f"{FOLDER}/rules.yaml": write(rules(watched), said + "For rule_files of Prometheus."),
        f"{FOLDER}/host-rules.yaml": write(
            host_rules(plan.engine.version),
            "Rendered by deployctl, for rule_files of Prometheus, once: of the machines, by "
            "node-exporter and\ndcgm-exporter. It is the same for every service.",
        ),
    }
