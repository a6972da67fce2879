"""What a Prometheus that runs already is given for a Compose project: rules, and what to scrape.

Not part of the bundle: a better rule here must not make an engine run anew.
"""

from deployctl.planning.plan import ServingPlan
from deployctl.promql import LabelMatcher
from deployctl.render import door
from deployctl.render.alerting import Objectives, Scope, host_groups, rule_groups
from deployctl.render.compose import SECRETS_FOLDER
from deployctl.render.yamltext import write
from deployctl.spec import ServiceSpec

FOLDER = "monitoring"
_TOKEN = f"../{SECRETS_FOLDER}/operator_token"  # Prometheus looks from where the file is


def monitoring_files(plan: ServingPlan, spec: ServiceSpec) -> dict[str, str]:
    """By path: `scrape.yaml` for Prometheus' `scrape_config_files`, the service's `rules.yaml`, and
    `host-rules.yaml`, which is the same for every service of a host, for its `rule_files`."""
    scope = Scope(
        plan.name,
        plan.engine.version,
        (LabelMatcher("service", "=", plan.name),),
        speculates="--speculative-config" in plan.engine.args,
        startup_s=spec.startup_timeout or plan.startup_budget_s,
    )
    job = {
        "job_name": f"deployctl-{plan.name}",
        "scrape_interval": f"{scope.interval_s}s",
        **(
            {"authorization": {"credentials_file": _TOKEN}}
            if door.has_door(plan.engine.version)
            else {}
        ),
        "static_configs": [
            {"targets": [f"127.0.0.1:{spec.port}"], "labels": {"service": plan.name}}
        ],
    }
    said = f"Rendered by deployctl for the service {plan.name}.\n"
    machines = Scope("", plan.engine.version, ())
    return {
        f"{FOLDER}/scrape.yaml": write(
            {"scrape_configs": [job]},
            said + "For scrape_config_files of a Prometheus on this host. What reads the token is "
            "Prometheus'\nown user; in a container, 127.0.0.1 is another address.",
        ),
        f"{FOLDER}/rules.yaml": write(
            {"groups": rule_groups(scope, Objectives())}, said + "For rule_files of Prometheus."
        ),
        f"{FOLDER}/host-rules.yaml": write(
            {"groups": host_groups(machines)},
            "Rendered by deployctl, for rule_files of Prometheus, once: of the machines, by "
            "node-exporter and\ndcgm-exporter. It is the same for every service.",
        ),
    }
