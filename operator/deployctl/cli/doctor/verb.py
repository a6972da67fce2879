"""The verb: options, one call, what is shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from deployctl.cli.console import Output, answer_json, tell
from deployctl.cli.doctor.text import show
from deployctl.cli.options import FilesOption, OutputOption, ValuesOption, spec_option_of
from deployctl.errors import InputError, SpecError, TargetError
from deployctl.spec import ServiceSpec, load_specs
from deployctl.spec.load import ENV_PREFIX, ports_of
from deployctl.spec.service import TARGETS, TargetKind

if TYPE_CHECKING:
    from deployctl.doctor.facts import Check

_TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="|".join(TARGETS),
        help="Where services will run. \\[default: kubernetes with --context or --namespace, else "
        f"docker for a GPU, process for cpu] [dim]\\[{ENV_PREFIX}TARGET][/dim]",
        show_default=False,
        envvar=f"{ENV_PREFIX}TARGET",
        show_envvar=False,
    ),
]
_GpuOption = Annotated[
    str,
    typer.Option(
        "--gpu",
        metavar="TEXT",
        help="Profile that the cards should match, a profile file, cpu, or auto.",
    ),
]
_GpusOption = Annotated[
    int | None,
    typer.Option(
        "--gpus", min=1, metavar="N", help="GPUs to use. \\[default: 1]", show_default=False
    ),
]
_ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="TEXT", help="Also check that this checkpoint fits.", show_default=False
    ),
]
_PortOption = Annotated[
    int | None,
    typer.Option(
        "--port",
        min=1,
        max=65535,
        metavar="N",
        help="Port to serve on. \\[default: the file's, or 8000]",
        show_default=False,
    ),
]
_ProbeOption = Annotated[
    bool,
    typer.Option(
        "--probe",
        help="Start one small pod of the engine's image in the cluster, and remove it: does a "
        "node get the image, does it see a card.",
    ),
]
_ProbeImageOption = Annotated[
    str | None,
    typer.Option(
        "--probe-image", metavar="IMAGE", help="The same of this image.", show_default=False
    ),
]


class _Answer(NamedTuple):
    """What was looked at, and what is said of it."""

    checks: "Sequence[Check]"
    place: dict[str, str]  # the target, and where in it
    gpu: str | None
    what: str
    remark: str = ""


@spec_option_of("cards")
def command(
    *,
    target: _TargetOption = None,
    gpu: _GpuOption = "auto",
    gpus: _GpusOption = None,
    cards: str | None = None,
    model: _ModelOption = None,
    port: _PortOption = None,
    files: FilesOption = [],  # noqa: B006  typer's way to say that it may be given often
    values: ValuesOption = None,
    probe: _ProbeOption = False,
    probe_image: _ProbeImageOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Check this machine, or a cluster: one line a check, and the fix for whatever is wrong.

    Nothing is changed, and nothing takes long. Exits with 0 if a service can
    run (warnings may remain), with 4 when a check failed.

    What serving without a GPU needs:

        [bold]deployctl doctor --gpu cpu[/bold]

    Docker, the NVIDIA driver, and the cards against their profile:

        [bold]deployctl doctor --gpu l4 --gpus 2[/bold]

    A cluster: rights, cards, volumes, quotas, what is installed in it; for a service, against its
    plan:

        [bold]deployctl doctor --target kubernetes --namespace llm -f service.yaml[/bold]
    """
    from deployctl.doctor.examine import document, verdict

    named = _target_named(target)
    specs = _specs(files, target=named, gpu=gpu, gpus=gpus, cards=cards, model=model, port=port)
    tried = probe_image or ("" if probe else None)
    if named == "kubernetes" or any(spec.target == "kubernetes" for spec in specs):
        answer = _cluster(specs, gpu, gpus or 1, values, tried)
    else:
        if len(specs) > 1 or cards or values or tried is not None:
            raise InputError(
                "several services, --cards, values and a probe are for a cluster alone",
                where="deployctl doctor",
                hint="add --target kubernetes",
            )
        if specs:
            gpu, gpus, model = specs[0].gpu, specs[0].gpus, specs[0].model
            named = specs[0].target or named
            port = next(iter(ports_of(specs[0])), None)
        name = specs[0].service if specs else None
        answer = _host(named, gpu, gpus or 1, model, port if specs else port or 8000, name)
    if output is Output.json:
        answer_json(document(answer.checks, **answer.place, gpu=answer.gpu))
    else:
        show(answer.checks, answer.what, answer.remark)
    if verdict(answer.checks) == "fail":
        raise typer.Exit(TargetError.exit_code)


def _host(
    target: TargetKind | None,
    gpu: str,
    gpus: int,
    model: str | None,
    port: int | None,
    service: str | None,
) -> _Answer:
    from deployctl.operations.hostdoctor import HostRequest, examine_host

    found = examine_host(HostRequest(target, gpu, gpus, model, port, service))
    profile = found.question.profile
    name = profile.name if profile else None
    what = f"target {found.question.target}" + (f", {name}" if name else "")
    missing = found.facts.gpus is not None and found.facts.gpus.failure == "missing"
    cpu = "no GPU here: deployctl doctor --gpu cpu looks at serving without one"
    remark = cpu if missing and profile is None else ""
    return _Answer(found.checks, {"target": found.question.target}, name, what, remark)


def _cluster(
    specs: list[ServiceSpec], gpu: str, gpus: int, values: list[Path] | None, probe: str | None
) -> _Answer:
    from deployctl.operations.bundle import chart_options
    from deployctl.operations.clusterdoctor import ClusterRequest, examine_cluster

    chart = chart_options(["kubernetes"], files=values or [])
    found = examine_cluster(ClusterRequest(specs, gpu, gpus, chart, probe), tell)
    namespace = found.facts.namespace or "unknown"
    place = {"target": "kubernetes", "context": found.facts.context, "namespace": namespace}
    name = found.profile.name if found.profile else None
    what = f"target kubernetes, namespace {namespace}" + (f", {name}" if name else "")
    return _Answer(found.checks, place, name, what)


def _specs(files: list[Path], **flags: Any) -> list[ServiceSpec]:
    """The services: of files, or of a model for a cluster; none where neither is given.

    Raises:
        InputError: without either, a cluster is asked for cards of a kind.
        SpecError: they are wrong.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if given.get("gpu") == "auto":
        del given["gpu"]
    clustered = given.get("target") == "kubernetes"
    if files or ("model" in given and clustered):
        return load_specs(files, given)
    if "cards" in given and clustered:
        raise InputError(
            "how pods get cards is looked at with a model: a claim asks for what it needs",
            where="--cards",
            hint="add --model, or -f FILE",
        )
    return []


def _target_named(target: str | None) -> TargetKind | None:
    """The target of that name.

    Raises:
        SpecError: there is none.
    """
    known = next((each for each in TARGETS if each == target), None)
    if known is None and target is not None:
        hint = " or ".join(TARGETS)
        raise SpecError(f"there is no target {target!r}", where="--target", hint=hint)
    return known
