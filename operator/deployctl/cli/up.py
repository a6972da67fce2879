"""`deployctl up`: from a spec to a service that answers."""

from typing import Any

from deployctl.cli.console import Output, answer_json, story
from deployctl.cli.options import OutputOption, spec_options
from deployctl.errors import PlanRefusedError
from deployctl.planning.plan import ServingPlan
from deployctl.render.bundle import Bundle
from deployctl.spec import ServiceSpec
from deployctl.units import duration


@spec_options
def command(specs: list[ServiceSpec], output: OutputOption = Output.text) -> None:
    """Start or update a service; return when it answers a real completion.

    Plans first, and refuses what cannot work before anything is stopped or started. The same
    spec twice changes nothing the second time. When the new revision does not come up, or on
    Ctrl-C, it is stopped and the one that ran before runs again. With several documents in a
    file (-f), each is brought up in turn, and the first that fails ends the command.

    [bold]Examples[/bold]

      deployctl up --model ./my-awq-model --gpu cpu --port 8000

      deployctl up --model Qwen/Qwen2.5-7B-Instruct-AWQ --gpu l4 --expose

      deployctl up -f service.yaml --output json

    [bold]Then[/bold]: deployctl status, deployctl logs -f NAME, deployctl smoke NAME,
    deployctl rollback NAME, deployctl down NAME.
    """
    documents = [_one(spec, output) for spec in specs]
    if output is Output.json:
        answer_json({"version": 1, "services": documents})


def _one(spec: ServiceSpec, output: Output) -> dict[str, Any]:
    import os

    from deployctl.cli.phases import Progress
    from deployctl.cli.pipeline import prepare
    from deployctl.cli.services import (
        open_rollout,
        open_store,
        outcome_document,
        tell_outcome,
    )
    from deployctl.targets import open_driver, secrets

    settings, store = open_store()
    prepared = prepare(spec)
    kind = prepared.spec.target or "process"
    key_path = secrets.key_path(store.root, kind, spec.service)
    wanted = secrets.with_key_file(prepared.spec, key_path, os.environ)
    _refuse(prepared.plan)
    for warning in prepared.plan.warnings:
        story(f"warning: {warning.message}; {warning.fix}", style="yellow", prefix=8)
    bundle = _render(prepared.plan, wanted, kind)
    driver = open_driver(kind, settings)
    story(f"{spec.service}: {prepared.plan.model} on {prepared.plan.gpu}, target {kind}")
    with Progress() as tell:
        rollout = open_rollout(driver, store, spec.service, tell)
        outcome = rollout.up(wanted, prepared.plan, bundle)
    number = outcome.release.revision
    if outcome.changed:
        story(f"{spec.service} serves: revision {number}, in {duration(outcome.seconds)}")
    else:
        story(f"{spec.service} serves already: revision {number}, unchanged")
    document = outcome_document(driver, store, outcome)
    if output is Output.text:
        tell_outcome(document, driver.endpoint(outcome.release))
    return document


def _refuse(plan: ServingPlan) -> None:
    if plan.verdict == "fits":
        return
    raise PlanRefusedError(
        "; ".join(reason.message for reason in plan.reasons) or plan.verdict,
        where=plan.name,
        hint=plan.reasons[0].fix if plan.reasons else None,
    )


def _render(plan: ServingPlan, spec: ServiceSpec, kind: str) -> Bundle:
    from deployctl.render import render_compose, render_process

    return render_compose(plan, spec) if kind == "docker" else render_process(plan, spec)
