"""`deployctl down`: stops services and leaves nothing running."""

from typing import Annotated, Any

import typer

from deployctl.cli.console import Output, answer_json, story
from deployctl.cli.options import OutputOption
from deployctl.operations.measure.endpoint import TargetOption


def command(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of services.", metavar="NAME...")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every service.")] = False,
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Remove caches, logs and the API key too.")
    ] = False,
    target: TargetOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Stop a service and leave nothing of it running, not even the engine's children.

    Its history stays, so that deployctl rollback can bring it back. Caches stay too, which makes
    the next start faster; --volumes removes them. Stopping what is stopped is fine.

    [bold]Examples[/bold]

      deployctl down my-model

      deployctl down --all --volumes
    """
    from deployctl.cli.progress import Progress
    from deployctl.errors import InputError
    from deployctl.operations.deploy.services import DOCUMENT_VERSION, open_rollout, open_store
    from deployctl.targets import open_driver

    if bool(names) == every:
        raise InputError(
            "give names of services, or --all" if not names else "give names, or --all, not both",
            where="NAME",
            hint="deployctl status lists the services",
        )
    settings, store = open_store()
    if names:
        refs = [store.find(name, target) for name in dict.fromkeys(names)]
    else:
        refs = [ref for ref in store.services() if target in (None, ref.kind)]
    documents: list[dict[str, Any]] = []
    for ref in refs:
        driver = open_driver(ref.kind, settings)
        with Progress() as tell:
            rollout = open_rollout(driver, store, ref.service, tell)
            stopped = [release.revision for release in rollout.down(volumes=volumes)]
        documents.append({"service": ref.service, "target": ref.kind, "stopped": stopped})
        if output is Output.text:
            typer.echo(f"{ref.service} is down" if stopped else f"{ref.service} was down already")
    if not refs:
        story("no service")
    if output is Output.json:
        answer_json({"version": DOCUMENT_VERSION, "services": documents})
