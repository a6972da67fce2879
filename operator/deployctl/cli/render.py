"""`deployctl render`: the files that a target would run, to read, keep or run by hand."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployctl.cli.console import Output, answer_json, story
from deployctl.cli.options import spec_options
from deployctl.errors import DeployctlError, InputError
from deployctl.operations import tuned as tunings
from deployctl.spec import ServiceSpec

if TYPE_CHECKING:
    from deployctl.operations.prepare import Prepared
    from deployctl.render import Bundle

DOCUMENT_VERSION = 1
MAIN_FILE = {
    "docker": "compose.yaml",
    "process": "run.sh",
    "helm": "values.yaml",
    "manifests": "kustomization.yaml",
}


class Kind(StrEnum):
    """What may be rendered. Helm and manifests are for Kubernetes."""

    process = "process"
    docker = "docker"
    helm = "helm"
    manifests = "manifests"
    all = "all"


@spec_options
def command(
    specs: list[ServiceSpec],
    given: frozenset[str],
    tuned: tunings.TunedOption = None,
    tuned_anyway: tunings.TunedAnywayOption = False,
    target: Annotated[
        Kind | None,
        typer.Option(
            "--target",
            help="Where it will run; all is a folder each. \\[default: the spec's, or docker for "
            "a GPU and process for cpu]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write here; several services get a folder each."),
    ] = None,
    namespace: Annotated[
        str, typer.Option("--namespace", help="Namespace of plain manifests.")
    ] = "vllm",
    values: Annotated[
        list[Path] | None,
        typer.Option(
            "--values",
            help="Values of your own for the chart, over the plan's; repeat for more. "
            "See docs/reference/values.md.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over files that deployctl did not render.")
    ] = False,
    output: Annotated[
        Output, typer.Option("--output", help="text, or json for a documented document.")
    ] = Output.text,
) -> None:
    """Write the files that a target would run; nothing is started.

    Without -o the main file goes to stdout: compose.yaml, run.sh for target process, the chart's
    values.yaml for helm, every object for manifests. With -o a folder is written that runs
    without deployctl: its README.md says how, and where secrets go. The same spec gives the same
    bytes, ready for git, Argo CD and Flux.

    Example: deployctl render --model Qwen/Qwen2.5-7B-Instruct-AWQ --gpu l4 -o qwen

    Then: cd qwen && docker compose up --detach --wait

    Or: deployctl render --target helm … -o qwen && helm install qwen qwen/chart -f
    qwen/values.yaml
    """
    from deployctl.operations.bundle import write

    recommended = tunings.read(tuned, tuned_anyway, specs, given)
    everything = target is Kind.all
    if out is None and output is Output.text and (everything or len(specs) > 1):
        what = "several targets" if everything else f"{len(specs)} services"
        raise InputError(
            f"{what} do not fit on one output",
            where="--target" if everything else "--file",
            hint="write them to folders with -o DIR, or use --output json",
        )
    if not everything and target in (Kind.process, Kind.docker):
        specs = [spec.model_copy(update={"target": target.value}) for spec in specs]
    options = chart_options(target, namespace, values or [])
    rendered = []
    for prepared in (tunings.prepare(spec, recommended) for spec in specs):
        kinds = _kinds(target, prepared)
        begun = _begin("manifests", prepared, options) if everything else None
        for kind in kinds:
            try:
                if begun is not None and kind == "manifests":
                    rendered.append((prepared, begun()))
                else:
                    rendered.append((prepared, render_one(kind, prepared, **options)))
            except DeployctlError as error:
                if not everything or prepared.plan.verdict != "fits":
                    raise
                story(f"left out target {kind} of {prepared.plan.name}: {error.message}")
    folders: list[Path | None] = []
    for prepared, bundle in rendered:
        folder = None
        if out is not None:
            folder = out / bundle.service if len(specs) > 1 else out
            folder = folder / bundle.target if everything else folder
            write(folder, bundle, _beside(prepared, bundle), force=force)
            story(f"rendered {bundle.service} for target {bundle.target} in {folder}")
        folders.append(folder)
    if output is Output.json:
        answer_json(_document([bundle for _, bundle in rendered], folders))
    elif out is None:
        typer.echo(_main_text(rendered[0][1]), nl=False)


def _begin(kind: str, prepared: "Prepared", options: dict[str, Any]) -> Callable[[], "Bundle"]:
    """Renders while the caller goes on: helm is another process. The answer may raise."""
    import threading

    answer: list[Bundle] = []
    refusal: list[BaseException] = []

    def work() -> None:
        try:
            answer.append(render_one(kind, prepared, **options))
        except BaseException as error:
            refusal.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def wait() -> "Bundle":
        thread.join()
        if refusal:
            raise refusal[0]
        return answer[0]

    return wait


def _kinds(target: Kind | None, prepared: "Prepared") -> list[str]:
    if target is Kind.all:
        return [kind.value for kind in Kind if kind is not Kind.all]
    return [target.value if target else prepared.spec.target or "docker"]


def chart_options(target: Kind | None, namespace: str, files: list[Path]) -> dict[str, Any]:
    """What the chart's targets take besides the spec.

    Raises:
        InputError: values are given for a target that has none, or the namespace is no name.
    """
    chart = target in (Kind.helm, Kind.manifests, Kind.all)
    if files and not chart:
        raise InputError(
            "only the chart has values",
            where="--values",
            hint="add --target helm or --target manifests",
        )
    import re

    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", namespace):
        raise InputError(
            f"{namespace!r} is no namespace",
            where="--namespace",
            hint="lower-case letters, digits and dashes, 63 at most",
        )
    merged: dict[str, Any] = {}
    if files:
        from deployctl.render.helm import merge
        from deployctl.spec.load import read_documents

        for file in files:
            for document in read_documents(file):
                merged = merge(merged, document)
    return {"namespace": namespace, "overrides": merged}


def render_one(
    kind: str, prepared: "Prepared", *, namespace: str, overrides: Mapping[str, Any]
) -> "Bundle":
    """Renders a plan for one kind of target.

    Raises:
        PlanRefusedError: the plan refuses, or the target cannot run it.
    """
    from deployctl.errors import PlanRefusedError
    from deployctl.render import render_compose, render_process

    plan, spec = prepared.plan, prepared.spec
    if plan.verdict != "fits":
        raise PlanRefusedError(
            "; ".join(reason.message for reason in plan.reasons) or "the plan refuses",
            where=plan.name,
            hint=plan.reasons[0].fix if plan.reasons else "see deployctl plan",
        )
    if kind == "docker":
        return render_compose(plan, spec)
    if kind == "process":
        return render_process(plan, spec)
    from deployctl.render.bundle import VALUES_FILE
    from deployctl.render.helm import chart, render_helm

    if kind == "helm":
        return render_helm(plan, spec, prepared.profile, overrides)
    from deployctl.render.manifests import render_manifests
    from deployctl.targets import helm

    own = {"managedBy": "deployctl", **overrides}
    bundle = render_helm(plan, spec, prepared.profile, own)
    values = bundle.files[VALUES_FILE]
    templated = helm.template(chart(), values, name=plan.name, namespace=namespace)
    return render_manifests(plan, templated)


def _beside(prepared: "Prepared", bundle: "Bundle") -> dict[str, str]:
    """Files for people, which the target does not need."""
    if bundle.target == "docker":
        from deployctl.render.readme import compose_readme

        return {"README.md": compose_readme(prepared.plan, prepared.spec)}
    if bundle.target in ("helm", "manifests"):
        from deployctl.render.readme import kubernetes_readme

        return {"README.md": kubernetes_readme(prepared.plan, bundle)}
    return {}


def _main_text(bundle: "Bundle") -> str:
    """What goes to stdout: for manifests every object, as `kubectl apply -f -` takes them."""
    if bundle.target != "manifests":
        return bundle.files[MAIN_FILE[bundle.target]]
    objects = [text for path, text in bundle.files.items() if path != MAIN_FILE["manifests"]]
    return "---\n".join(objects)


def _document(bundles: "list[Bundle]", folders: list[Path | None]) -> dict[str, object]:
    services = [
        {
            "service": bundle.service,
            "target": bundle.target,
            "digest": bundle.digest,
            "folder": str(folder) if folder else None,
            "main_file": MAIN_FILE[bundle.target],
            "files": bundle.files,
        }
        for bundle, folder in zip(bundles, folders, strict=True)
    ]
    return {"version": DOCUMENT_VERSION, "services": services}
