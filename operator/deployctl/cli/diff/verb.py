"""`deployctl diff`: what a change will do, before it is done."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployctl.cli.console import Output, answer_json, out
from deployctl.cli.options import OutputOption, spec_options
from deployctl.errors import InputError, PlanRefusedError
from deployctl.spec import ServiceSpec

if TYPE_CHECKING:
    from deployctl.checking.difference import Difference
    from deployctl.operations.deploy.diff import Sides

DOCUMENT_VERSION = 1
DIFFERS = 3  # with --exit-code


@spec_options
def command(
    specs: list[ServiceSpec],
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", metavar="DIR", help="Against a rendered folder.", show_default=False
        ),
    ] = None,
    against_file: Annotated[
        Path | None,
        typer.Option(
            "--against-file",
            metavar="FILE",
            help="Against the plan of another spec file.",
            show_default=False,
        ),
    ] = None,
    values: Annotated[
        list[Path] | None,
        typer.Option("--values", help="Values of your own for the chart.", show_default=False),
    ] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 3 when something differs.")
    ] = False,
    output: OutputOption = Output.text,
) -> None:
    """Say what a spec would change, and what that does to what runs; nothing is changed.

    By default the spec is held against what runs: the release that deployctl up deployed, or
    the Compose project that docker compose up started from rendered files. With --against DIR
    it is held against a rendered folder of any target, with --against-file against the plan of
    another spec file.

    Each change is one field, and one of: refused (cannot be applied as it is), restarts (the
    service answers nothing while the engine starts), rolls (pods are replaced while others
    serve), in_place (the engine is not touched), nothing (does not matter to what runs).

    deployctl diff -f service.yaml

    deployctl diff -f service.yaml --against k8s/chat --exit-code

    deployctl diff -f service.yaml --against-file main.yaml --output json

    Exit code 0; with --exit-code 3 when anything differs.
    """
    from deployctl.operations.deploy import diff as diffsides

    if against is not None and against_file is not None:
        raise InputError(
            "a spec is held against one thing at a time",
            where="--against-file",
            hint="leave --against or --against-file out",
        )
    found = []
    for prepared in diffsides.prepared(specs):
        if prepared.plan.verdict != "fits":
            raise PlanRefusedError(
                "; ".join(reason.message for reason in prepared.plan.reasons) or "does not fit",
                where=prepared.plan.name,
                hint=prepared.plan.reasons[0].fix if prepared.plan.reasons else None,
            )
        if against is not None:
            sides = diffsides.with_folder(prepared, against, len(specs), values or [])
        elif against_file is not None:
            sides = diffsides.with_file(prepared, against_file)
        else:
            sides = diffsides.with_running(prepared)
        found.append((sides, diffsides.changes(sides)))
    if output is Output.json:
        services = [_document(sides, changes) for sides, changes in found]
        answer_json({"version": DOCUMENT_VERSION, "services": services})
    else:
        from deployctl.cli.diff.text import diff_text

        colour = out.color_system is not None and out.is_terminal
        for sides, changes in found:
            out.print(diff_text(sides, changes, colour=colour), end="", soft_wrap=True)
    if exit_code and any(changes for _, changes in found):
        raise typer.Exit(DIFFERS)


def _document(sides: "Sides", changes: "list[Difference]") -> dict[str, Any]:
    from deployctl.checking.difference import worst

    gravest = worst(changes)
    return {
        "service": sides.service,
        "target": sides.target,
        "against": sides.against,
        "effect": gravest.value if gravest else None,
        "startup_budget_s": sides.startup_budget_s,
        "changes": [
            {
                "file": change.file,
                "where": change.where,
                "old": change.old,
                "new": change.new,
                "effect": change.effect.value,
                "why": change.why,
            }
            for change in changes
        ],
        "plan": [{"what": what, "old": old, "new": new} for what, old, new in sides.plan],
    }
