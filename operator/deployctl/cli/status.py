"""`deployctl status`: what runs, and whether it answers."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from deployctl.cli.console import Output, answer_json, print_rows, say, story
from deployctl.cli.options import OutputOption, ServiceArgument, TargetOption
from deployctl.cli.rolloutprogress import DOCUMENT_VERSION
from deployctl.units import duration, size

if TYPE_CHECKING:
    from deployctl.operations.deploy.services import ServiceStatus

TARGET_FAILED = 4


def command(
    name: ServiceArgument = None,
    target: TargetOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Show what runs and whether it answers; without a name, for every service on every target.

    Each running engine is asked for a completion of one token: a health check can be green while
    the engine hangs. On Kubernetes that is done for a service that is named; of all, it is told
    what the pods' probes say, which look at progress too. Exit code 4 when a service that should
    serve does not.

    [bold]Examples[/bold]

      deployctl status

      deployctl status my-model --output json
    """
    from deployctl.operations.deploy.services import status

    services = status(name, target)
    if output is Output.json:
        documents = [service._asdict() for service in services]
        answer_json({"version": DOCUMENT_VERSION, "services": documents})
    else:
        _show(services)
    if any(service.health in ("dead", "silent", "unknown") for service in services):
        raise typer.Exit(TARGET_FAILED)


def _show(services: "list[ServiceStatus]") -> None:
    if not services:
        story("no service; start one with deployctl up")
        return
    header = ("SERVICE", "TARGET", "REVISION", "HEALTH", "UP", "MEMORY", "URL")
    print_rows([header, *map(_row, services)])
    for line in (f"{s.service}: {card}" for s in services for card in s.cards):
        say(line)
    for service in services:
        if service.coming:
            story(f"{service.service}: comes next: {service.coming}")
        if service.detail:
            _explain(service)


def _row(service: "ServiceStatus") -> tuple[str, ...]:
    up = "-"
    if service.started and service.health in ("serving", "starting", "silent"):
        passed = datetime.now(UTC) - datetime.fromisoformat(service.started)
        up = duration(max(0.0, passed.total_seconds()))
    return (
        service.service,
        service.target,
        str(service.revision or "?"),
        service.health,
        up,
        size(service.memory_bytes) if service.memory_bytes else "-",
        service.url or "-",
    )


def _explain(service: "ServiceStatus") -> None:
    name = service.service
    story(f"{name}: {service.health}: {service.detail}")
    for line in service.log_tail:
        story(f"     | {line}", style="dim")
    if service.health == "unknown":
        story(f" hint: deployctl down {name} sets a damaged record aside", prefix=6)
    if service.health == "dead":
        story(f" hint: deployctl logs {name} shows more; deployctl up starts it again", prefix=6)
