"""`deployctl status`: what runs, and whether it answers."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from deployctl.cli.console import Output, answer_json, print_rows, say, story, there
from deployctl.cli.options import OutputOption, ServiceArgument, TargetOption
from deployctl.cli.rolloutprogress import DOCUMENT_VERSION
from deployctl.errors import InputError
from deployctl.spec import TargetKind
from deployctl.units import duration, size

if TYPE_CHECKING:
    from deployctl.operations.connect import ForClients
    from deployctl.operations.deploy.seen import ReplicaStatus, ServiceStatus

TARGET_FAILED = 4

_ConnectOption = Annotated[
    bool,
    typer.Option(
        "--connect",
        help="Show what clients paste instead: address, key, curl, Python, Open WebUI, LiteLLM, "
        "Continue.",
    ),
]
_ShowKeyOption = Annotated[
    bool, typer.Option("--show-key", help="With --connect: show the API key itself.")
]


def command(
    name: ServiceArgument = None,
    target: TargetOption = None,
    *,
    connect: _ConnectOption = False,
    show_key: _ShowKeyOption = False,
    output: OutputOption = Output.text,
) -> None:
    """Show what runs and whether it answers; without a name, for every service on every target.

    Each running engine is asked for a completion of one token: a health check can be green while
    the engine hangs. On Kubernetes that is done for a service that is named; of all, it is told
    what the pods' probes say, which look at progress too. Exit code 4 when a service that should
    serve does not; of all, one of ours: what another state folder has on a Docker engine is marked.

    [bold]Examples[/bold]

      deployctl status

      deployctl status my-model --output json

      deployctl status my-model --connect
    """
    if show_key and not connect:
        raise InputError("--show-key goes with --connect", where="--show-key")
    if connect:
        _connect(name, target, output, show_key)
        return
    from deployctl.operations.deploy.services import status

    services = status(name, target)
    if output is Output.json:
        documents = [service.document() for service in services]
        answer_json({"version": DOCUMENT_VERSION, "services": documents})
    else:
        _show(services)
    counted = services if name else [service for service in services if service.ours]
    if any(service.health in ("dead", "silent", "halted", "unknown") for service in counted):
        raise typer.Exit(TARGET_FAILED)


def _show(services: "list[ServiceStatus]") -> None:
    if not services:
        story("no service; start one with deployctl up")
        return
    header = ("SERVICE", "TARGET", "REVISION", "HEALTH", "UP", "MEMORY", "URL")
    print_rows([header, *(row for service in services for row in _rows(service))])
    for line in (f"{s.service}: {beside}" for s in services for beside in s.beside):
        say(line)
    for service in services:
        if service.coming:
            story(f"{service.service}: comes next: {service.coming}")
        if service.detail:
            _explain(service)


def _rows(service: "ServiceStatus") -> Iterator[tuple[str, ...]]:
    yield (service.service, service.target, str(service.revision or "?"), *_state(service))
    for each in service.replicas:
        yield (f"{service.service}/{each.replica}", "", "", *_state(each))


def _state(at: "ServiceStatus | ReplicaStatus") -> tuple[str, ...]:
    up = "-"
    if at.started and at.health in ("serving", "starting", "silent"):
        passed = datetime.now(UTC) - datetime.fromisoformat(at.started)
        up = duration(max(0.0, passed.total_seconds()))
    return (at.health, up, size(at.memory_bytes) if at.memory_bytes else "-", at.url or "-")


def _explain(service: "ServiceStatus") -> None:
    name = service.service
    story(f"{name}: {service.health}: {service.detail}")
    for line in service.log_tail:
        story(f"     | {line}", style="dim")
    if service.hint:
        story(f" hint: {service.hint}", prefix=6)
    if service.health == "dead":
        story(f" hint: deployctl logs {name} shows more; deployctl up starts it again", prefix=6)


def _connect(name: str | None, target: TargetKind | None, output: Output, show_key: bool) -> None:
    from deployctl.operations.connect import connect

    connection = connect(name, target)
    if output is Output.json:
        document = connection.document(with_key=show_key)
        answer_json({"version": DOCUMENT_VERSION, "connect": document})
        return
    _show_connection(connection, show_key)


def _show_connection(connection: "ForClients", show_key: bool) -> None:
    way = connection.way
    rows = [("url", way.base_url), ("model", way.model)]
    if connection.inside:
        rows.insert(1, ("inside", connection.inside))
    if connection.elsewhere:
        rows.insert(1, ("others", connection.elsewhere))
    if way.ca_file:
        rows.append(("ca", f"{way.ca_file} verifies the gateway's certificate"))
    rows += [("chat", connection.chat_url)] if connection.chat_url else []
    if connection.before:
        rows.insert(0, ("first", connection.before))
    if connection.key is None and connection.wants_key:
        rows.append(
            ("key", f"deployctl keys add {connection.service} NAME{there()} > {way.key_file}")
        )
    elif way.key_file:
        rows.append(("key", (connection.key or "") if show_key else f"in {way.key_file}"))
    print_rows(rows)
    for snippet in connection.snippets:
        say(f"\n# {snippet.name}" + (f": {snippet.file}" if snippet.file else ""))
        for line in snippet.text.splitlines():
            say(line)
