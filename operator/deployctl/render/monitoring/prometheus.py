"""What Prometheus is told: what to scrape, and by which rules to judge it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from deployctl.planning.plan import ServingPlan
from deployctl.promql import LabelMatcher
from deployctl.render import door, gateway
from deployctl.render.alerting import PROBES, Objectives, Scope, host_groups, rule_groups
from deployctl.render.alerting.gateway import JOB
from deployctl.render.gatewayentry import port_of
from deployctl.spec import ServiceSpec

HOST_RULES = "host_rules.yaml"  # no service's: their names have no underscore
INTERVAL_S = 15  # between two scrapes, and between two evaluations of a rule
PROBE_FILE = "blackbox.yaml"  # the configuration of blackbox-exporter
PROBE_PORT = 9115  # where it usually listens
_MODULE = "certificate"


class Watched(NamedTuple):
    """A service that Prometheus looks at."""

    plan: ServingPlan
    spec: ServiceSpec
    address: str  # HOST:PORT, as Prometheus reaches it; of several replicas the first one's
    token_file: str  # of the operator, as Prometheus sees it; or from where its own file is
    path: str = ""  # what stands before /metrics there; of several replicas the first one's
    others: tuple[str, ...] = ()  # addresses of the other replicas, where they are known
    gateway: str = ""  # HOST:PORT of the monitor of its gateway, where it is not at `address`

    @property
    def monitor(self) -> str:
        """HOST:PORT of the monitor of its gateway; none where that is not looked at."""
        return self.gateway or (self.address if self.path else "")

    @property
    def labels(self) -> dict[str, str]:
        """What its series have: its name, and behind a gateway by which instance and server that
        one's series are told, which its alerts ask for."""
        server = gateway.server(port_of(self.spec))
        behind = {"gateway": f"{self.monitor}/{server}"} if self.monitor else {}
        return {"service": self.plan.name, **behind}

    @property
    def addresses(self) -> list[str]:
        """Those of all replicas: processes have each the port after the one before, until one took
        over on another; in Docker all are behind one address."""
        if self.path or self.others:
            return [self.address, *self.others]
        host, _, port = self.address.rpartition(":")
        return [f"{host}:{int(port) + number}" for number in range(self.plan.replicas)]

    @property
    def places(self) -> list[dict[str, Any]]:
        """What Prometheus scrapes. Replicas at one address are told by their paths."""
        name, count = self.plan.name, self.plan.replicas
        if not self.path or count == 1:
            return [{"targets": self.addresses, "labels": self.labels}]
        return [
            {
                "targets": [self.address],
                "labels": {
                    **self.labels,
                    "instance": f"{name}/{number}",
                    "__metrics_path__": f"{gateway.inside(name, number)}/metrics",
                },
            }
            for number in range(count)
        ]


def scrape_job(watched: Watched) -> dict[str, Any]:
    """How one service is scraped."""
    name = watched.plan.name
    guarded = door.has_door(watched.plan.engine.version)
    return {
        "job_name": f"deployctl-{name}",
        "scrape_interval": f"{INTERVAL_S}s",
        **({"metrics_path": f"{watched.path}/metrics"} if watched.path else {}),
        **({"authorization": {"credentials_file": watched.token_file}} if guarded else {}),
        "static_configs": watched.places,
    }


def gateway_jobs(services: Sequence[Watched]) -> list[dict[str, Any]]:
    """How the gateways before them are scraped, each once: one job, or none."""
    places = {each.monitor for each in services if each.monitor}
    targets = [{"targets": sorted(places)}]
    job = {"job_name": JOB, "scrape_interval": f"{INTERVAL_S}s", "static_configs": targets}
    return [job] if places else []


def probe_jobs(services: Sequence[Watched], exporter: str) -> list[dict[str, Any]]:
    """How blackbox-exporter, at HOST:PORT, is asked for the certificates that their gateways show:
    one job, or none. Services may share a domain."""
    places = {
        (each.spec.domain, port_of(each.spec), each.address.rpartition(":")[0])
        for each in services
        if each.spec.domain
    }
    targets = [
        {
            "targets": [exporter],
            "labels": {
                "instance": f"{domain}:{port}",
                "__param_target": f"{host}:{port}",
                "__param_hostname": domain,
            },
        }
        for domain, port, host in sorted(places)
    ]
    job = {
        "job_name": PROBES,
        "metrics_path": "/probe",
        "params": {"module": [_MODULE]},
        "static_configs": targets,
    }
    return [job] if targets else []


def probe_module() -> dict[str, Any]:
    """What blackbox-exporter does for that: a TLS connection and no request. It takes whatever
    certificate it is shown: one that has ended is to be seen still."""
    tcp = {"tls": True, "tls_config": {"insecure_skip_verify": True}}
    return {"modules": {_MODULE: {"prober": "tcp", "timeout": "5s", "tcp": tcp}}}


def rules(watched: Watched) -> dict[str, Any]:
    """Recording rules and alerts of one service: a rule file."""
    plan, spec = watched.plan, watched.spec
    scope = Scope(
        plan.name,
        plan.engine.version,
        (LabelMatcher("service", "=", plan.name),),
        speculates="--speculative-config" in plan.engine.args,
        startup_s=spec.startup_timeout or plan.startup_budget_s,
        interval_s=INTERVAL_S,
    )
    return {"groups": rule_groups(scope, Objectives())}


def host_rules(version: str) -> dict[str, Any]:
    """Alerts of machines and gateways, which are the same for every service: a rule file."""
    return {"groups": host_groups(Scope("", version, (), interval_s=INTERVAL_S), gateways=True)}
