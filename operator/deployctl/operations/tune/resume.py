"""Going on with a study: where it is, and whether it is the one that is asked for."""

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from deployctl.operations.tune import request as tuneflags
from deployctl.operations.tune import setup as tunesetup
from deployctl.operations.tune.request import Wishes

if TYPE_CHECKING:
    from deployctl.spec import ServiceSpec
    from deployctl.tuning.study import Header


def differences(header: "Header", specs: "list[ServiceSpec]", wishes: Wishes) -> list[str]:
    """What the command line asks for otherwise than the study that it wants to go on with."""
    found: list[str] = []
    if specs:
        asked_for = tunesetup.begin(
            specs[0], _filled(header, wishes), datetime.fromisoformat(header.created)
        ).header
        if wishes.space is None:
            asked_for = replace(asked_for, parameters=header.parameters)
        return header.differences(asked_for)
    given = {
        "objective": (wishes.objective, header.goal),
        "slo": (wishes.slo and wishes.slo.replace(" ", ""), header.slo),
        "budget": (wishes.budget and tuneflags.budget(wishes.budget), header.budget_s),
        "max-trials": (wishes.max_trials, header.max_trials),
        "workload": (
            wishes.workload and tuneflags.absolute(wishes.workload),
            header.traffic.workload,
        ),
        "input-tokens": (wishes.input_tokens, header.traffic.input_tokens),
        "output-tokens": (wishes.output_tokens, header.traffic.output_tokens),
        "api": (wishes.api, header.traffic.api),
        "load": (wishes.load and tuneflags.load(wishes.load), header.first),
        "seed": (wishes.seed, header.seed),
    }
    for name, (asked, had) in given.items():
        if asked is not None and asked != had:
            found.append(f"--{name}: {had}, now {asked}")
    if wishes.space is not None:
        found.append("--space: a study keeps its own")
    return found


def _filled(header: "Header", wishes: Wishes) -> Wishes:
    """Where nothing was given, what the study has."""
    first = str(header.first)
    return replace(
        wishes,
        objective=wishes.objective or header.goal,
        slo=wishes.slo or header.slo,
        budget=wishes.budget or f"{header.budget_s}",
        max_trials=wishes.max_trials or header.max_trials,
        workload=wishes.workload or header.traffic.workload,
        input_tokens=wishes.input_tokens or header.traffic.input_tokens,
        output_tokens=wishes.output_tokens or header.traffic.output_tokens,
        api=wishes.api or header.traffic.api,
        load=wishes.load or first,
        seed=header.seed if wishes.seed is None else wishes.seed,
    )
