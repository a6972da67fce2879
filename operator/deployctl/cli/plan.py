"""`deployctl plan`: what will run, whether it fits, and why."""

from deployctl.cli.console import Output, answer_json, out
from deployctl.cli.options import OutputOption, spec_options
from deployctl.errors import PlanRefusedError
from deployctl.planning import ServingPlan
from deployctl.spec import ServiceSpec


@spec_options
def command(specs: list[ServiceSpec], output: OutputOption = Output.text) -> None:
    """Say what will run, whether it fits, and why; nothing is started or downloaded.

    Example: deployctl plan --model Qwen/Qwen2.5-7B-Instruct-AWQ --gpu l4
    """
    from deployctl.cli.pipeline import prepare

    plans = [prepare(spec).plan for spec in specs]
    for plan in plans:
        if output is Output.json:
            answer_json(plan)
        else:
            _tell(plan)
    refused = [plan for plan in plans if plan.verdict != "fits"]
    if refused:
        first = refused[0]
        raise PlanRefusedError(
            "; ".join(reason.message for reason in first.reasons),
            where=first.name,
            hint=first.reasons[0].fix if first.reasons else None,
        )


def _tell(plan: ServingPlan) -> None:
    out.print(f"{plan.verdict}: {plan.model} on {plan.gpu}")
    out.print("vllm " + " ".join(plan.engine.args))
    for reason in (*plan.reasons, *plan.warnings):
        out.print(f"{reason.code}: {reason.message}\n  fix: {reason.fix}")
