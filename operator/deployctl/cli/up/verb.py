"""`deployctl up`: from a spec to a service that answers, and that is kept if it holds."""

from typing import Any

from deployctl.cli.console import Output, answer_json, story
from deployctl.cli.options import OutputOption, request_options, spec_options
from deployctl.cli.up.options import VerifyFlags
from deployctl.errors import PlanRefusedError
from deployctl.operations import tuned as tunings
from deployctl.operations.deploy import verification as verifying
from deployctl.planning.plan import ServingPlan
from deployctl.spec import ServiceSpec
from deployctl.units import duration


@spec_options
@request_options
def command(
    specs: list[ServiceSpec],
    given: frozenset[str],
    *,
    tuned: tunings.TunedOption = None,
    tuned_anyway: tunings.TunedAnywayOption = False,
    verify: VerifyFlags,
    output: OutputOption = Output.text,
) -> None:
    """Start or update a service; return when it answers a real completion.

    Plans first, and refuses what cannot work before anything is stopped or started. The same
    spec twice changes nothing the second time. When the new revision does not come up, or on
    Ctrl-C, it is stopped and the one that ran before runs again. With several documents in a
    file (-f), each is brought up in turn, and the first that fails ends the command.

    With --verify the new revision is load-tested, and kept only if it holds --slo: otherwise
    the one that ran before is back, or was never touched, and the exit code is 5.

    [bold]Examples[/bold]

      deployctl up --model ./my-awq-model --gpu cpu --port 8000

      deployctl up --model Qwen/Qwen2.5-7B-Instruct-AWQ --gpu l4 --expose

      deployctl up -f service.yaml --tuned recommendation.yaml --verify

      deployctl up -f service.yaml --verify --slo ttft_p95=500ms --rate 4 --output json

    [bold]Then[/bold]: deployctl status, deployctl logs -f NAME, deployctl smoke NAME,
    deployctl rollback NAME, deployctl down NAME.
    """
    found = tunings.read(tuned, tuned_anyway, specs, given)
    checks = [verifying.read(verify.below(spec, specs), found, spec) for spec in specs]
    documents: list[dict[str, Any]] = []
    try:
        for spec, check in zip(specs, checks, strict=True):
            _one(spec, output, found, check, documents)
    finally:
        # What was verified and not kept is an answer too.
        if output is Output.json and documents:
            answer_json({"version": 1, "services": documents})


def _one(
    spec: ServiceSpec,
    output: Output,
    tuned: tunings.Tuned | None,
    check: verifying.Verification | None,
    documents: list[dict[str, Any]],
) -> None:
    import os

    from deployctl.cli.progress import Progress
    from deployctl.operations.deploy import up as keeping
    from deployctl.operations.deploy.services import (
        open_rollout,
        open_store,
        outcome_document,
        tell_outcome,
    )
    from deployctl.targets import keys, open_driver

    settings, store = open_store()
    prepared = tunings.prepare(spec, tuned)
    kind = prepared.spec.target or "process"
    key_path = keys.key_path(store.root, kind, spec.service)
    wanted = keys.with_key_file(prepared.spec, key_path, os.environ)
    _refuse(prepared.plan)
    for warning in prepared.plan.warnings:
        story(f"warning: {warning.message}; {warning.fix}", style="yellow", prefix=8)
    bundle = keeping.render(prepared.plan, wanted, kind)
    driver = open_driver(kind, settings)
    story(f"{spec.service}: {prepared.plan.model} on {prepared.plan.gpu}, target {kind}")
    more: dict[str, Any] = {}
    if tuned is not None:
        more["tuned"] = tunings.document(tuned, prepared)
    with Progress() as tell:
        rollout = open_rollout(driver, store, spec.service, tell)
        if check is None:
            outcome = rollout.up(wanted, prepared.plan, bundle)
        else:
            keeper = keeping.Keeper(check, driver, store, rollout, tell)
            outcome = keeper.up(prepared._replace(spec=wanted), bundle, documents, more)
            more["verification"] = keeper.document(kept=True)
    number = outcome.release.revision
    if outcome.changed:
        story(f"{spec.service} serves: revision {number}, in {duration(outcome.seconds)}")
    else:
        story(f"{spec.service} serves already: revision {number}, unchanged")
    document = {**outcome_document(driver, store, outcome), **more}
    if output is Output.text:
        tell_outcome(document, driver.endpoint(outcome.release))
    documents.append(document)


def _refuse(plan: ServingPlan) -> None:
    if plan.verdict == "fits":
        return
    raise PlanRefusedError(
        "; ".join(reason.message for reason in plan.reasons) or plan.verdict,
        where=plan.name,
        hint=plan.reasons[0].fix if plan.reasons else None,
    )
