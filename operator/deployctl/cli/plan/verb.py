"""`deployctl plan`: what will run, whether it fits, and why."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from deployctl.cli.console import Output, answer_json, out, story, tell
from deployctl.cli.fleet import refuse_alone
from deployctl.cli.options import OutputOption, TunedAnywayOption, TunedOption, spec_options
from deployctl.errors import PlanRefusedError, SpecError
from deployctl.spec import ServiceSpec

if TYPE_CHECKING:
    from deployctl.hardware import GpuProfile
    from deployctl.operations.prepare import Prepared
    from deployctl.planning.plan import ServingPlan
    from deployctl.spec.fleet import CardsOfHost

_CompareOption = Annotated[
    str | None,
    typer.Option(
        help="Profiles to compare, with commas between: l4,rtx4090,a100-80gb.",
        metavar="GPU,GPU,…",
        show_default=False,
    ),
]
_ExplainOption = Annotated[
    bool, typer.Option("--explain", help="Show the search's steps, and every fix with its figures.")
]


@spec_options
def command(
    specs: list[ServiceSpec],
    given: frozenset[str],
    fleet: "Sequence[CardsOfHost]",
    tuned: TunedOption = None,
    tuned_anyway: TunedAnywayOption = False,
    compare: _CompareOption = None,
    explain: _ExplainOption = False,
    output: OutputOption = Output.text,
) -> None:
    """Show what will run, whether it fits, and why. Nothing is started, no weights are read.

    The plan gives the engine's flags, how many GPUs share the model, the memory of each, how
    many requests fit, how long a start may take and what it costs. Without --max-model-len it
    is the longest context that fits. What cannot run is refused with the fix, and the exit
    code is 3. Services of a file that says the host's cards (fleet) are planned together: which
    is on which card, with what share of its memory.

    deployctl plan --model Qwen/Qwen2.5-7B-Instruct-AWQ --gpu l4 --users 8

    deployctl plan --model ./checkpoint --gpu h100 --gpus 2 --max-model-len 32768

    deployctl plan --model ./checkpoint --compare l4,rtx4090,a100-80gb --users 16

    deployctl plan -f fleet.yaml
    """
    from deployctl.operations.prepare import prepare, read_recommendation, refuse_clashes

    if fleet:
        refuse_alone({"--tuned": tuned, "--compare": compare})
        _plan_fleet(specs, fleet, explain, output)
        return
    recommended = read_recommendation(tuned, tuned_anyway, specs, given)
    if compare is not None:
        if recommended is not None:
            raise SpecError(
                "a recommendation is for one GPU", where="--tuned", hint="leave out --compare"
            )
        if len(specs) != 1:
            raise SpecError(
                "compares one service at a time", where="--compare", hint="give one model"
            )
        _compare(specs[0], compare, output)
        return
    ready: list[Prepared] = []
    for spec in specs:
        of_cluster, among = _on_cluster(spec) if spec.target == "kubernetes" else (spec, ())
        prepared = prepare(of_cluster, recommended, tell, among=among)
        if output is Output.text:
            _show(prepared, apart=bool(ready), explain=explain)
            if prepared.plan.accelerator == "cuda":
                _tell_cards(prepared.spec)
        ready.append(prepared)
    refuse_clashes(ready)
    plans = [prepared.plan for prepared in ready]
    if output is Output.json:
        answer_json(plans[0] if len(plans) == 1 else [p.model_dump(mode="json") for p in plans])
    _refuse(plans)


def _plan_fleet(
    specs: list[ServiceSpec], fleet: "Sequence[CardsOfHost]", explain: bool, output: Output
) -> None:
    from deployctl.cli.plan.fleettext import fleet_text
    from deployctl.operations.fleet import plan_fleet, refuse_unfit_fleet

    plan = plan_fleet(specs, fleet).plan
    if output is Output.json:
        answer_json(plan)
    else:
        out.print(fleet_text(plan, explain=explain), end="", soft_wrap=True)
    refuse_unfit_fleet(plan)


def _on_cluster(spec: ServiceSpec) -> "tuple[ServiceSpec, Sequence[GpuProfile]]":
    """With what the cluster has of cards, where the spec leaves that to it."""
    from deployctl.operations.deploy.services import open_store
    from deployctl.operations.kinds import in_cluster, settled

    settings, _ = open_store(spec)
    spec = settled(spec, settings, tell)
    return spec, in_cluster(spec, settings, tell)


def _tell_cards(spec: ServiceSpec) -> None:
    from deployctl.operations.deploy.services import open_store
    from deployctl.operations.kinds import there

    told = there(spec, open_store(spec)[0])
    if told is not None:
        story(f"in the cluster: {told}")


def _show(prepared: "Prepared", *, apart: bool, explain: bool) -> None:
    from deployctl.cli.plan.text import explained, plan_text

    if apart:
        out.print()
    text = plan_text(
        prepared.plan,
        prepared.profile.title,
        counted=prepared.plan.graphs_in_budget,
        colour=out.color_system is not None and out.is_terminal,
    )
    if explain:
        text.append_text(explained(prepared.plan))
    out.print(text, end="", soft_wrap=True)


def _compare(spec: ServiceSpec, names: str, output: Output) -> None:
    from deployctl.cli.plan.text import comparison_text
    from deployctl.hardware import load_profile
    from deployctl.operations.prepare import prepare
    from deployctl.planning.comparison import compare

    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted:
        raise SpecError("names no profile", where="--compare", hint="deployctl profiles lists them")
    profiles = [load_profile(name, where="--compare") for name in wanted]
    prepared = prepare(spec.model_copy(update={"gpu": wanted[0]}))
    comparison = compare(prepared.spec, prepared.facts, profiles)
    if output is Output.json:
        answer_json(comparison)
    else:
        out.print(comparison_text(comparison), end="", soft_wrap=True)
    if all(candidate.plan.verdict != "fits" for candidate in comparison.candidates):
        raise PlanRefusedError(
            "none of these GPUs is large enough",
            where="--compare",
            hint="ask for less context or fewer users, or compare larger cards",
        )


def _refuse(plans: "list[ServingPlan]") -> None:
    refused = [plan for plan in plans if plan.verdict != "fits"]
    if not refused:
        return
    first = refused[0]
    word = "does not fit" if first.verdict == "does_not_fit" else "cannot run"
    raise PlanRefusedError(
        f"{first.name} {word}: {', '.join(reason.code for reason in first.reasons)}",
        hint=first.reasons[0].fix if first.reasons else None,
    )
