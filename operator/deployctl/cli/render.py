"""`deployctl render`: the files that a target would run, to read, keep or run by hand."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from deployctl.cli.console import Output, answer_json, story, tell
from deployctl.cli.options import TunedAnywayOption, TunedOption, ValuesOption, spec_options
from deployctl.errors import InputError
from deployctl.render.bundle import Bundle, BundleKind
from deployctl.spec import TARGETS, ServiceSpec

DOCUMENT_VERSION = 1
MAIN_FILE: dict[BundleKind, str] = {
    "docker": "compose.yaml",
    "process": "run.sh",
    "helm": "values.yaml",
    "manifests": "kustomization.yaml",
}


_KindOption = Annotated[
    Literal[BundleKind, "all"] | None,  # helm and manifests are for Kubernetes
    typer.Option(
        "--target",
        help="Where it will run; all is a folder each. \\[default: the spec's, or docker for "
        "a GPU and process for cpu]",
        show_default=False,
    ),
]
_OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Write here; several services get a folder each."),
]
_NamespaceOption = Annotated[str, typer.Option("--namespace", help="Namespace of plain manifests.")]
_ForceOption = Annotated[
    bool, typer.Option("--force", help="Write over files that deployctl did not render.")
]
_NOT_A_FOLDER = InputError(
    "what is installed on Kubernetes is a chart and its values",
    where="--target kubernetes",
    hint="write them with --target helm, or plain objects with --target manifests",
)
_OutputOption = Annotated[  # -o is the folder here
    Output, typer.Option("--output", help="text, or json in a documented format.")
]


@spec_options
def command(
    specs: list[ServiceSpec],
    given: frozenset[str],
    tuned: TunedOption = None,
    tuned_anyway: TunedAnywayOption = False,
    target: _KindOption = None,
    out: _OutOption = None,
    namespace: _NamespaceOption = "vllm",
    values: ValuesOption = None,
    force: _ForceOption = False,
    output: _OutputOption = Output.text,
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
    from deployctl.operations import bundle as bundles
    from deployctl.operations.prepare import prepare, read_recommendation

    recommended = read_recommendation(tuned, tuned_anyway, specs, given)
    everything = target == "all"
    kind = None if target == "all" else target
    if out is None and output is Output.text and (everything or len(specs) > 1):
        _refuse_several(everything, len(specs))
    if kind == "kubernetes":
        raise _NOT_A_FOLDER
    if kind in TARGETS:
        specs = [spec.model_copy(update={"target": kind}) for spec in specs]
    kinds = bundles.KINDS if everything else [kind or str(spec.target) for spec in specs]
    options = bundles.chart_options(kinds, namespace, values or [])
    rendered = []
    for prepared in (prepare(spec, recommended, tell) for spec in specs):
        if everything:
            made = bundles.render_all(prepared, options, tell)
        else:
            own: BundleKind = "helm" if prepared.target == "kubernetes" else prepared.target
            made = [bundles.render(kind or own, prepared, options)]
        rendered += [(bundle, bundles.readme(prepared, bundle)) for bundle in made]
    folders = [_folder(out, bundle, len(specs) > 1, everything) for bundle, _ in rendered]
    for (bundle, readme), folder in zip(rendered, folders, strict=True):
        if folder is not None:
            bundles.write(folder, bundle, readme, force=force, root=out)
            story(f"rendered {bundle.service} for target {bundle.target} in {folder}")
    if output is Output.json:
        answer_json(_document([bundle for bundle, _ in rendered], folders))
    elif out is None:
        typer.echo(_main_text(rendered[0][0]), nl=False)


def _refuse_several(everything: bool, services: int) -> None:
    what = "several targets" if everything else f"{services} services"
    raise InputError(
        f"{what} do not fit on one output",
        where="--target" if everything else "--file",
        hint="write them to folders with -o DIR, or use --output json",
    )


def _folder(out: Path | None, bundle: Bundle, several: bool, everything: bool) -> Path | None:
    if out is None:
        return None
    below = [*([bundle.service] if several else []), *([bundle.target] if everything else [])]
    return out.joinpath(*below)


def _main_text(bundle: Bundle) -> str:
    """What goes to stdout: for manifests every object, as `kubectl apply -f -` takes them."""
    if bundle.target != "manifests":
        return bundle.files[MAIN_FILE[bundle.target]]
    objects = [text for path, text in bundle.files.items() if path != MAIN_FILE["manifests"]]
    return "---\n".join(objects)


def _document(bundles: list[Bundle], folders: list[Path | None]) -> dict[str, object]:
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
