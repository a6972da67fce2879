"""`deployctl down`: stops services and leaves nothing running."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployctl.cli.console import Output, answer_json, say, story
from deployctl.cli.options import FilesOption, OutputOption, TakeOverOption, TargetOption
from deployctl.cli.rolloutprogress import DOCUMENT_VERSION, RolloutProgress
from deployctl.errors import InputError, TargetError
from deployctl.spec import ServiceSpec, TargetKind, load_specs

if TYPE_CHECKING:
    from deployctl.targets.store import ServiceRef


_MonitoringOption = Annotated[
    bool,
    typer.Option(
        "--monitoring",
        help="End what up --with-monitoring brought; with --volumes, what it recorded, too.",
    ),
]


def command(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of services.", metavar="NAME...")
    ] = None,
    files: FilesOption = [],  # noqa: B006  typer's
    every: Annotated[
        bool,
        typer.Option("--all", help="Every service; of a Docker engine, those changed from here."),
    ] = False,
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Remove caches, logs and keys too.")
    ] = False,
    monitoring: _MonitoringOption = False,
    take_over: TakeOverOption = False,
    target: TargetOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Stop a service and leave nothing of it running, not even the engine's children.

    Its history stays, so that deployctl rollback can bring it back. Caches stay too, which makes
    the next start faster; --volumes removes them. Stopping a stopped service is not an error.

    [bold]Examples[/bold]

      deployctl down my-model

      deployctl down --all --volumes

      deployctl down -f fleet.yaml

      deployctl down --monitoring
    """
    some = bool(names or files)
    alone = monitoring and not some and not every
    if not alone:
        _refuse_unclear(some, every)
    refs = {} if alone else _chosen(names or [], files, target)
    answers: list[dict[str, Any]] = []
    failed: TargetError | None = None
    try:
        for ref, spec in refs.items():
            name = ref.service
            try:
                answers.append(_down(ref, spec=spec, volumes=volumes, take_over=take_over))
            except TargetError as error:  # which is no reason for others to run on
                failed = _first(failed, error, name)
                continue
            if output is Output.text:
                stopped = answers[-1]["stopped"]
                say(f"{name} is down" if stopped else f"{name} was down already")
        if not refs and not alone:
            story("no service")
        if monitoring:
            _end_monitoring(volumes)
    finally:  # what is down is so, whatever became of the others or of monitoring
        if output is Output.json:
            answer_json({"version": DOCUMENT_VERSION, "services": answers})
    if failed is not None:
        raise failed


def _refuse_unclear(some: bool, every: bool) -> None:
    if some == every:
        raise InputError(
            "give names of services, or --all" if not some else "give names, or --all, not both",
            where="NAME",
            hint="deployctl status lists the services",
        )


def _down(ref: "ServiceRef", **how: Any) -> dict[str, Any]:
    from deployctl.operations.deploy.deployment import down

    with RolloutProgress() as tell:
        stopped = down(ref.service, target=ref.target, tell=tell, **how)
    revisions = [release.revision for release in stopped]
    return {"service": ref.service, "target": ref.target, "stopped": revisions}


def _first(failed: TargetError | None, error: TargetError, name: str) -> TargetError:
    """The error to end with; another one is told at once."""
    if failed is not None:
        story(f"{name}: {error.message}")
    return failed or error


def _chosen(
    names: list[str], files: list[Path], target: TargetKind | None
) -> "dict[ServiceRef, ServiceSpec | None]":
    """The services of these names and files, of which some may never have been up; without any, all
    that are ours. Those of files with their specs."""
    from deployctl.operations.deploy.services import of_specs, open_store

    _, store = open_store()
    if names or files:
        found = dict.fromkeys(store.find(name, target) for name in names)
        return {**found, **of_specs(load_specs(files, {}) if files else [], target)}
    refs = [ref for ref in store.services() if target in (None, ref.target)]
    if others := store.others(target):
        alone = ", ".join(ref.service for ref in others)
        story(f"left alone, since nothing was changed of them from here: {alone}")
    if unknown := store.unknown("whether there are services of others"):
        story(unknown.message)
    return dict.fromkeys(refs)


def _end_monitoring(volumes: bool) -> None:
    from deployctl.operations.monitoring.stack import end

    there = end(volumes=volumes)
    story("monitoring is down" if there else "monitoring was down already")
