"""`deployctl render`: the files that a target would run, to read, keep or run by hand."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployctl.cli.console import Output, answer_json, story
from deployctl.cli.options import spec_options
from deployctl.errors import InputError
from deployctl.spec import ServiceSpec

if TYPE_CHECKING:
    from deployctl.cli.pipeline import Prepared
    from deployctl.render import Bundle

DOCUMENT_VERSION = 1
MAIN_FILE = {"docker": "compose.yaml", "process": "run.sh"}


@spec_options
def command(
    specs: list[ServiceSpec],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write here; several services get a folder each."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over files that deployctl did not render.")
    ] = False,
    output: Annotated[
        Output, typer.Option("--output", help="text, or json for a documented document.")
    ] = Output.text,
) -> None:
    """Write the files that a target would run; nothing is started.

    Without -o the main file goes to stdout: compose.yaml, or run.sh for target process. With
    -o a folder is written that runs without deployctl: its README.md says how, and where
    secrets go. The same spec gives the same bytes.

    Example: deployctl render --model Qwen/Qwen2.5-7B-Instruct-AWQ --gpu l4 -o qwen

    Then: cd qwen && docker compose up --detach --wait
    """
    from deployctl.cli.pipeline import prepare
    from deployctl.cli.rendered import write

    if len(specs) > 1 and out is None and output is Output.text:
        raise InputError(
            f"{len(specs)} services do not fit on one output",
            where="--file",
            hint="write them to folders with -o DIR, or use --output json",
        )
    rendered = [(prepared, _render(prepared)) for prepared in map(prepare, specs)]
    folders: dict[str, Path] = {}
    if out is not None:
        for prepared, bundle in rendered:
            folder = out / bundle.service if len(rendered) > 1 else out
            folders[bundle.service] = folder
            write(folder, bundle, _beside(prepared, bundle), force=force)
            story(f"rendered {bundle.service} for target {bundle.target} in {folder}")
    if output is Output.json:
        answer_json(_document([bundle for _, bundle in rendered], folders))
    elif out is None:
        bundle = rendered[0][1]
        typer.echo(bundle.files[MAIN_FILE[bundle.target]], nl=False)


def _render(prepared: "Prepared") -> "Bundle":
    from deployctl.errors import PlanRefusedError
    from deployctl.render import render_compose, render_process

    plan, spec = prepared.plan, prepared.spec
    if plan.verdict != "fits":
        raise PlanRefusedError(
            "; ".join(reason.message for reason in plan.reasons) or "the plan refuses",
            where=plan.name,
            hint=plan.reasons[0].fix if plan.reasons else "see deployctl plan",
        )
    return render_compose(plan, spec) if spec.target == "docker" else render_process(plan, spec)


def _beside(prepared: "Prepared", bundle: "Bundle") -> dict[str, str]:
    """Files for people, which the target does not need."""
    if bundle.target != "docker":
        return {}
    from deployctl.render.readme import compose_readme

    return {"README.md": compose_readme(prepared.plan, prepared.spec)}


def _document(bundles: "list[Bundle]", folders: dict[str, Path]) -> dict[str, object]:
    services = [
        {
            "service": bundle.service,
            "target": bundle.target,
            "digest": bundle.digest,
            "folder": str(folders[bundle.service]) if bundle.service in folders else None,
            "main_file": MAIN_FILE[bundle.target],
            "files": bundle.files,
        }
        for bundle in bundles
    ]
    return {"version": DOCUMENT_VERSION, "services": services}
