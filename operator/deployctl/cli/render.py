"""`deployctl render`: the files that a target would run, to read, keep or run by hand."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from deployctl.cli.console import Output, answer_json, say, shown, story, tell
from deployctl.cli.options import (
    ReceiversOption,
    TunedAnywayOption,
    TunedOption,
    ValuesOption,
    spec_options,
)
from deployctl.errors import InputError
from deployctl.events import Event
from deployctl.render.bundle import Bundle, BundleKind
from deployctl.spec import TARGETS, ServiceSpec

if TYPE_CHECKING:
    from deployctl.operations.bundle import ChartOptions
    from deployctl.operations.prepare import Prepared, Tuned

DOCUMENT_VERSION = 1
MAIN_FILE: dict[BundleKind, str] = {
    "docker": "compose.yaml",
    "process": "run.sh",
    "helm": "values.yaml",
    "manifests": "kustomization.yaml",
}


_KindOption = Annotated[
    # helm and manifests are for Kubernetes; monitoring is of all services together
    Literal[BundleKind, "monitoring", "all"] | None,
    typer.Option(
        "--target",
        help="Where it will run; all is a folder each; monitoring: for a Prometheus and a Grafana "
        "that run already. \\[default: the spec's, or docker for a GPU and process for cpu]",
        show_default=False,
    ),
]
_OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Write here; several services get a folder each."),
]
_ScrapeHostOption = Annotated[
    str | None,
    typer.Option(
        "--scrape-host",
        help="With --target monitoring: by which name Prometheus reaches the services' host. "
        "\\[default: 127.0.0.1]",
        metavar="HOST",
    ),
]
_MonitorPortOption = Annotated[
    list[str] | None,
    typer.Option(
        "--monitor-port",
        help="With --target monitoring: where a gateway tells its metrics, TARGET=PORT: docker "
        "(20190), or process (what gateway/monitor_port of its state folder has). Repeatable.",
        metavar="TARGET=PORT",
        show_default=False,
    ),
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
    receivers: ReceiversOption = None,
    scrape_host: _ScrapeHostOption = None,
    monitor_port: _MonitorPortOption = None,
    force: _ForceOption = False,
    output: _OutputOption = Output.text,
) -> None:
    """Write the files that a target would run; nothing is started.

    Without -o the main file goes to stdout: compose.yaml, run.sh for target process, the chart's
    values.yaml for helm, every object for manifests. With -o a folder is written that runs
    without deployctl: its README.md says how, and where secrets go. The same spec gives the same
    bytes, ready for git, Argo CD and Flux.

    Example: deployctl render --model Qwen/Qwen2.5-7B-Instruct-AWQ --gpu l4 -o qwen; then: cd qwen
    && docker compose up --detach --wait

    Or: deployctl render --target helm … -o qwen && helm install qwen qwen/chart -f
    qwen/values.yaml

    Or: deployctl render --target monitoring -f fleet.yaml --receivers receivers.yaml -o monitoring
    """
    from deployctl.operations import bundle as bundles
    from deployctl.operations.prepare import read_recommendation

    recommended = read_recommendation(tuned, tuned_anyway, specs, given)
    if target == "monitoring":
        ready = _ready(specs, recommended, target)
        _monitoring(ready, receivers, (scrape_host, monitor_port), _Written(out, force, output))
        return
    _refuse_watching(receivers, {"--scrape-host": scrape_host, "--monitor-port": monitor_port})
    everything = target == "all"
    if out is None and output is Output.text and (everything or len(specs) > 1):
        _refuse_several(everything, len(specs))
    if target == "kubernetes":
        raise _NOT_A_FOLDER
    if target in TARGETS:
        specs = [spec.model_copy(update={"target": target}) for spec in specs]
    kinds = bundles.KINDS if everything else [target or str(spec.target) for spec in specs]
    options = bundles.chart_options(kinds, namespace, values or [])
    rendered: list[tuple[Bundle, dict[str, str]]] = []
    for prepared in _ready(specs, recommended, target):
        rendered += _rendered(prepared, target, options)
    folders = [_folder(out, bundle, len(specs) > 1, everything) for bundle, _ in rendered]
    for (bundle, readme), folder in zip(rendered, folders, strict=True):
        if folder is not None:
            bundles.write(folder, bundle, readme, force=force, root=out)
            story(f"rendered {bundle.service} for target {bundle.target} in {folder}")
    if output is Output.json:
        answer_json(_document([bundle for bundle, _ in rendered], folders))
    elif out is None:
        _show(_main_text(rendered[0][0]))


def _ready(
    specs: list[ServiceSpec], recommended: "Tuned | None", kind: str | None
) -> "list[Prepared]":
    """The services' plans; those for hosts, of which none is in another's way."""
    from deployctl.operations.prepare import prepare, refuse_clashes

    ready = [prepare(spec, recommended, tell) for spec in specs]
    if kind not in ("helm", "manifests"):
        refuse_clashes(ready)
    return ready


def _rendered(
    prepared: "Prepared", kind: BundleKind | Literal["all"] | None, options: "ChartOptions"
) -> "list[tuple[Bundle, dict[str, str]]]":
    """The bundles of a service, each with its files for people."""
    from deployctl.operations import bundle as bundles

    own: BundleKind = "helm" if prepared.target == "kubernetes" else prepared.target
    made = (
        bundles.render_all(prepared, options, tell)
        if kind == "all"
        else [bundles.render(kind or own, prepared, options)]
    )
    return [(bundle, bundles.readme(prepared, bundle)) for bundle in made]


def _refuse_watching(receivers: Path | None, scraped: dict[str, str | list[str] | None]) -> None:
    """Refuses what is of monitoring alone."""
    from deployctl.operations.monitoring.request import refuse_receivers

    refuse_receivers(receivers, "--target monitoring")
    for flag in (flag for flag, value in scraped.items() if value):
        raise InputError(
            f"{flag} goes with --target monitoring",
            where=flag,
            hint=f"add it, or leave {flag} out",
        )


class _Written(NamedTuple):
    """Where files go, and how that is told."""

    out: Path | None
    force: bool
    output: Output


def _monitoring(
    prepared: "list[Prepared]",
    receivers: Path | None,
    scraped: tuple[str | None, list[str] | None],
    how: _Written,
) -> None:
    from deployctl.operations.monitoring.folder import folder_of, receivers_of
    from deployctl.operations.rendered import write_files

    if how.out is None and how.output is Output.text:
        raise InputError(
            "many files do not fit on one output",
            where="--target monitoring",
            hint="write them to a folder with -o DIR, or use --output json",
        )
    host, ports = scraped
    files = folder_of(prepared, receivers_of(receivers), host, ports or ())
    if how.out is not None:
        write_files(how.out, files, force=how.force)
        count = "1 service" if len(prepared) == 1 else f"{len(prepared)} services"
        story(f"rendered monitoring of {count} in {how.out}: see its README.md")
    if how.output is Output.json:
        folder = str(how.out) if how.out else None
        answer_json({"version": DOCUMENT_VERSION, "folder": folder, "files": files})


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


def _show(text: str) -> None:
    """To stdout, where a terminal or the log of a job may read it."""
    say(text.removesuffix("\n"))
    if shown(text) != text:
        said = "some characters of it are not shown as they are, and -o DIR writes them"
        tell(Event("warning", f"{said}: they would command a terminal, or the runner of a job"))


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
