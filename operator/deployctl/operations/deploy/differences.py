"""What a spec would change: its files, and what they are held against."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from deployctl import given
from deployctl.boundedyaml import parse
from deployctl.checking.difference import Difference, compare
from deployctl.checking.documents import documents
from deployctl.checking.effects import Effect
from deployctl.errors import DeployctlError, NotFoundError, of_service
from deployctl.events import silent
from deployctl.operations import kinds, rendered, upload
from deployctl.operations.bundle import chart_options, render
from deployctl.operations.deploy import incluster
from deployctl.operations.deploy.services import open_store
from deployctl.operations.fleet import load_placed
from deployctl.operations.prepare import Prepared, prepare, refuse_clashes, refuse_unfit
from deployctl.operations.rendered import MARKER, known
from deployctl.planning.plan import ServingPlan
from deployctl.render import gatewayproject, yamltext
from deployctl.render.bundle import GATEWAY_FILE, VALUES_FILE, BundleKind
from deployctl.render.compose import CACHE_OWNER, COMPOSE_FILE, DOOR_FOLDER, SECRETS_FOLDER
from deployctl.render.monitoring import project as monitoring
from deployctl.spec import ServiceSpec, TargetKind
from deployctl.spec.place import Said, marked
from deployctl.targets import cores, helm, history, open_view
from deployctl.targets.docker.running import Running, running_files
from deployctl.targets.driver import OFFLINE
from deployctl.targets.store import ServiceRef

MAX_FILES = 500
# What `bundle.readme` adds: no part of a bundle.
_BESIDE = ("README.md", f"{monitoring.FOLDER}/", f"{gatewayproject.BY_HAND}/")
# The file that tells which target a folder was rendered for.
_TELLTALE: dict[str, BundleKind] = {
    "compose.yaml": "docker",
    "command.json": "process",
    "chart/Chart.yaml": "helm",
    "kustomization.yaml": "manifests",
}
_BY_A_START = (OFFLINE, cores.VARIABLE)  # what it adds to an engine's environment
_FIGURES = (
    ("engine", lambda p: f"{p.engine.name} {p.engine.version}"),
    ("GPUs of one replica", lambda p: p.world_size),
    ("replicas", lambda p: p.replicas),
    ("context, tokens", lambda p: p.max_model_len),
    ("full requests at once", lambda p: round(p.max_concurrency, 1)),
    ("KV cache, GiB a GPU", lambda p: round(p.memory.kv_cache_gib, 2) if p.memory else None),
    ("start-up budget, s", lambda p: p.startup_budget_s),
    ("dollars an hour", lambda p: round(p.cost.usd_per_hour, 2) if p.cost else None),
)


class ServiceDiff(NamedTuple):
    """One service held against something, and every field that differs."""

    service: str
    target: BundleKind
    against: str  # in words
    startup_budget_s: int
    plan: list[tuple[str, Any, Any]]  # figures of the plan that differ: old, new
    differences: list[Difference]


class _Other(NamedTuple):
    """What a spec is held against."""

    target: BundleKind
    words: str
    files: dict[str, str]
    plan: ServingPlan | None = None  # where it is known
    chart: Path | None = None  # where it carries one of its own
    replaces: bool = False  # `up` replaces it whenever a byte of it differs
    told: Running | None = None  # by containers, as far as these tell


def diff(
    specs: Sequence[ServiceSpec],
    *,
    folder: Path | None = None,
    file: Path | None = None,
    values: Sequence[Path] = (),
) -> Iterator[ServiceDiff]:
    """Holds specs against what runs of them; or a rendered folder, or another spec file.

    `values`: the user's values for the chart, on Kubernetes or where `folder` was rendered for it.

    Raises:
        PlanRefusedError: a spec does not fit, or cannot run.
        NotFoundError: there is nothing to hold it against.
        Otherwise as `prepare`.
    """
    ready = [*map(_prepared, specs)]
    refuse_clashes(ready)
    for prepared in ready:
        refuse_unfit(prepared.plan)
        if folder is not None:
            yield _diff(prepared, _in_folder(prepared, folder, len(specs)), values)
        elif file is not None:
            yield _diff(prepared, _in_file(prepared, file))
        elif prepared.target == "kubernetes":
            yield _in_cluster(prepared, values)
        else:
            prepared = upload.for_an_engine(prepared, silent)
            yield _diff(prepared, _running(prepared))


def _prepared(spec: ServiceSpec) -> Prepared:
    settings, _ = open_store(spec)
    spec = kinds.settled(spec, settings, silent)
    return prepare(spec, among=kinds.in_cluster(spec, settings, silent))


def _diff(prepared: Prepared, other: _Other, values: Sequence[Path] = ()) -> ServiceDiff:
    options = chart_options([other.target], _namespace(other.files), values)
    new = dict(render(other.target, prepared, options).files)
    old = other.files
    if other.told is not None:
        old, new = _as_told(new, other.told)
    if other.target == "helm":
        old, new = _filled_in(prepared.plan.name, old, new, other.chart)
    differences = compare(old, new, other.target)
    return ServiceDiff(
        prepared.plan.name,
        other.target,
        other.words,
        prepared.plan.startup_budget_s,
        _figures(other.plan, prepared.plan) if other.plan else [],
        _as_replaced(differences, old, new) if other.replaces and old != new else differences,
    )


def _in_cluster(prepared: Prepared, values: Sequence[Path]) -> ServiceDiff:
    """Against what the cluster holds.

    Raises:
        NotFoundError: nothing is deployed.
        TargetError: the cluster cannot be asked.
    """
    settings, store = open_store(prepared.spec)
    target, name = prepared.target, prepared.plan.name
    release = history.deployed(store.releases(ServiceRef(target, name)))
    view = open_view(target, settings)
    if release is None or view is None:
        raise _nothing_runs(name, target)
    options = upload.for_a_folder(prepared, chart_options([target], files=values), silent)
    bundle = render(target, prepared, options)
    return ServiceDiff(
        name,
        target,
        f"what the cluster holds of revision {release.revision}",
        prepared.plan.startup_budget_s,
        _figures(release.plan, prepared.plan),
        incluster.changes(view, bundle, release.bundle),
    )


def _as_replaced(
    differences: list[Difference], old: dict[str, str], new: dict[str, str]
) -> list[Difference]:
    if {name for name in {*old, *new} if old.get(name) != new.get(name)} == {GATEWAY_FILE}:
        serves_on = "the gateway does it, and the engine serves on"
        return [replace(d, effect=Effect.in_place, why=serves_on) for d in differences]
    why = "deployctl up replaces a release that differs in anything else"
    return [replace(d, effect=Effect.restarts, why=why) for d in differences] or [
        Difference(name, "", "text", "text", Effect.restarts, why)
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _filled_in(
    service: str, old: dict[str, str], new: dict[str, str], old_chart: Path | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Both sides as objects, where helm is there to make them; else their values."""
    from deployctl.render.helm import chart  # slow, and for charts alone

    filled = []
    for files, folder in ((old, old_chart or chart()), (new, chart())):
        try:
            values = files.get(VALUES_FILE, "")
            text = helm.template(folder, values, name=service, namespace="default")
        except DeployctlError:
            return old, new
        filled.append({"objects.yaml": text})
    return filled[0], filled[1]


def _namespace(old: dict[str, str]) -> str:
    """The namespace that the other side's objects are in."""
    for file, text in old.items():
        if file.endswith((".yaml", ".yml")) and not file.startswith("chart/"):
            for document in documents(file, parse(text)[0]):
                if document.namespace:
                    return document.namespace
    return "vllm"


def _in_folder(prepared: Prepared, folder: Path, services: int) -> _Other:
    """A folder that was rendered.

    Raises:
        NotFoundError: there is no such folder, or nothing in it was rendered.
    """
    where = folder / prepared.plan.name if services > 1 or not _target(folder) else folder
    target = _target(where)
    if not given.is_folder(folder) or target is None:
        raise NotFoundError(
            "there is no rendered folder" if given.is_folder(folder) else "there is no such folder",
            where=str(folder),
            hint="give a folder that deployctl render -o wrote",
        )
    chart = where / "chart"
    return _Other(target, str(where), _read(where), chart=chart if chart.is_dir() else None)


def _target(folder: Path) -> BundleKind | None:
    return next((kind for name, kind in _TELLTALE.items() if given.is_file(folder / name)), None)


def _read(folder: Path) -> dict[str, str]:
    """The rendered files of a folder: those its marker lists, or all that may be."""
    listed = known(folder)
    names = list(listed) if listed is not None else _walked(folder)
    files: dict[str, str] = {}
    for name in names[:MAX_FILES]:
        text = rendered.read(folder, name)
        if text is not None:
            files[name] = text
    return {name: text for name, text in files.items() if not name.startswith(_BESIDE)}


def _walked(folder: Path) -> list[str]:
    files = sorted(folder.rglob("*.yaml")) + sorted(folder.rglob("*.json"))
    files = [f for f in files if SECRETS_FOLDER not in f.relative_to(folder).parts]
    files += sorted((folder / DOOR_FOLDER).rglob("*.py"))
    files += [f for f in (folder / "run.sh", folder / "secrets" / ".gitignore") if f.is_file()]
    return [f.relative_to(folder).as_posix() for f in files if f.name != MARKER]


def _in_file(prepared: Prepared, file: Path) -> _Other:
    """The plan of another spec file.

    Raises:
        SpecError: the file is wrong.
        NotFoundError: it has no service of that name, and several others.
    """
    others = load_placed([file])
    name = prepared.plan.name
    chosen = next((s for s in others if s.service == name), others[0])
    if chosen.service != name and len(others) > 1:
        raise NotFoundError(
            f"the file has no service {name}",
            where=str(file),
            hint=f"it has {', '.join(s.service for s in others)}",
        )
    target = prepared.target
    said = Said(files=[file], services=[spec.service for spec in others])
    with marked(said), of_service(chosen.service):
        other = prepare(chosen)
        files = dict(render(target, other).files)
    words = f"{chosen.service} in {file}" if chosen.service != name else str(file)
    return _Other(target, words, files, other.plan)


def _figures(old: ServingPlan, new: ServingPlan) -> list[tuple[str, Any, Any]]:
    """The figures of two plans that differ."""
    pairs = [(what, figure(old), figure(new)) for what, figure in _FIGURES]
    return [(what, before, after) for what, before, after in pairs if before != after]


def _running(prepared: Prepared) -> _Other:
    """What runs of a spec.

    Raises:
        NotFoundError: nothing runs.
        TargetError: the records or Docker cannot be read.
    """
    target, name = prepared.target, prepared.plan.name
    _, store = open_store()
    if release := history.deployed(store.releases(ServiceRef(target, name))):
        words = f"revision {release.revision}, which is deployed"
        return _Other(target, words, dict(release.bundle.files), release.plan, replaces=True)
    if target == "docker" and (running := running_files(name)):
        words = f"the Compose project that runs from {running.source}"
        return _Other(target, words, running.files, told=running if running.partial else None)
    raise _nothing_runs(name, target)


def _nothing_runs(name: str, target: TargetKind) -> NotFoundError:
    return NotFoundError(
        f"nothing of {name} runs on target {target}",
        where=name,
        hint="deployctl up starts it; --against DIR compares with a rendered folder",
    )


def _as_told(new: dict[str, str], running: Running) -> tuple[dict[str, str], dict[str, str]]:
    """Both Compose files, cut down to what containers of engines tell of themselves."""
    wanted: dict[str, Any] = yamltext.read(new[COMPOSE_FILE])["services"]
    wanted.pop(CACHE_OWNER)
    told: dict[str, Any] = json.loads(running.files[COMPOSE_FILE])["services"]
    for name, engine in told.items():
        # What the image sets, and what a start adds, no file says.
        known = wanted[name]["environment"] if name in wanted else {}
        engine["environment"] = {
            name: value
            for name, value in engine["environment"].items()
            if name in known or not (name in _BY_A_START or f"{name}={value}" in running.from_image)
        }
    keys = {key for engine in told.values() for key in engine}
    kept = {name: {key: engine.get(key) for key in keys} for name, engine in wanted.items()}
    old, new = ({COMPOSE_FILE: json.dumps({"services": each})} for each in (told, kept))
    return old, new
