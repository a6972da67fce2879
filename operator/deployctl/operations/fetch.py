"""A model is brought to where its engine looks for it, whole and checked, before an engine is
touched; or into a folder, for a host without a network.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deployctl import given, hub
from deployctl.errors import HubError, InputError, ModelError, NotFoundError
from deployctl.events import Event, Tell, silent
from deployctl.files import replace_text, state_error
from deployctl.hub.listing import Listing, StoredFile
from deployctl.hub.transfer import Request, Transferred, transfer
from deployctl.operations import kinds, upload
from deployctl.operations.bundle import NO_VALUES, ChartOptions, render
from deployctl.operations.prepare import hub_token, prepare, refuse_unfit
from deployctl.spec import ServiceSpec, TargetKind
from deployctl.spec.settings import Settings
from deployctl.targets import Driver, brought, open_driver, open_view
from deployctl.targets.history import Release
from deployctl.units import size

MANIFEST = "deployctl-fetch.json"  # in a folder that was fetched: what belongs into it
MAX_MANIFEST = 16 * 1024 * 1024
_VERSION = 1


@dataclass(frozen=True)
class Fetched:
    """A model that is there, whole."""

    service: str
    model: str
    revision: str | None  # the commit; None for a folder that says none
    target: TargetKind | None  # None where it was fetched into a folder
    place: str  # for a person
    path: str  # in the words of the machine where it is
    files: int
    bytes: int
    downloaded: int  # bytes that came now
    image: str | None = None  # that is there too

    def document(self) -> dict[str, Any]:
        """What JSON answers say of it."""
        return asdict(self)


def fetch(spec: ServiceSpec, tell: Tell = silent, *, chart: ChartOptions = NO_VALUES) -> Fetched:
    """Brings a service's model, and on Docker its image, to its target; starts and stops nothing.

    A folder of this machine is sent to a cluster, or to another host's Docker engine, and for this
    host checked where it is. `chart` has the values with which it will be brought up.

    Raises:
        InputError, PlanRefusedError: as `up` refuses; or the target fetches by itself.
        HubError, TargetError: it cannot be had, or there is no room for it.
        InterruptedByUserError: Ctrl-C; what has come is kept.
    """
    is_folder = isinstance(hub.locate(spec.model, spec.revision), Path)
    for_a_cluster = spec.target == "kubernetes" or (spec.target is None and spec.claims_cards)
    if is_folder and not (for_a_cluster or upload.is_elsewhere(spec.target)):
        return _check_folder(spec, tell)
    if for_a_cluster and not is_folder:
        raise InputError(
            "a model of the Hub is downloaded inside the cluster, when up begins",
            where="--target kubernetes",
            hint="deployctl up: its pods download onto the claim of their cache, or with --values: "
            "download: {enabled: true} one Job for all. To bring it from here, fetch it with --to "
            "DIR, and then --model DIR",
        )
    settings = Settings().in_cluster(spec.context, spec.namespace)
    spec = kinds.settled(spec, settings, tell)
    prepared = prepare(spec, tell=tell, among=kinds.in_cluster(spec, settings, tell))
    refuse_unfit(prepared.plan)
    prepared = upload.for_an_engine(prepared, tell)
    view = open_view(prepared.target, settings)
    if view is not None:
        view.reach()  # a folder's digest takes long
    bundle = render(prepared.target, prepared, upload.for_a_folder(prepared, chart, tell))
    release = Release(
        service=spec.service,
        revision=0,
        status="pending",
        created="",
        reason="fetch",
        spec=prepared.spec,
        plan=prepared.plan,
        bundle=bundle,
    )
    driver = open_driver(prepared.target, settings)
    if prepared.target != "kubernetes":
        driver.fetch(release, tell)
    if is_folder:
        return _send(driver, release, tell)
    fetched = bring(driver, release, tell)
    if fetched is None:
        raise InputError(
            "the engine is told to look for its model where deployctl cannot put it",
            where="env/HF_HOME",
            hint="leave HF_HOME and HF_HUB_CACHE out of the service's environment",
        )
    return fetched


def fetch_to(spec: ServiceSpec, folder: Path, tell: Tell = silent) -> Fetched:
    """Brings a model into a folder that another host can be given; no card is asked for.

    Raises:
        InputError: the model is a folder already, the folder holds another model, or the network
            is not to be used.
        Otherwise as `fetch`.
    """
    if isinstance(hub.locate(spec.model, spec.revision), Path):
        raise ModelError(
            "this is a folder already", where=spec.model, hint="copy it: cp -rL FOLDER DIR"
        )
    if spec.offline or hub.is_offline():
        raise InputError(
            "offline, and a model is to be downloaded into a folder",
            where="--offline" if spec.offline else "HF_HUB_OFFLINE",
            hint=f"go online for it; what is in {folder} already is checked by deployctl fetch "
            f"--model {folder}",
        )
    token = hub_token(spec.hf_token_file)
    listing = hub.listing(spec.model, revision=spec.revision, token=token)
    folder = given.expanded(folder).absolute()
    _refuse_other(folder, listing)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise state_error("make the folder", folder, error) from error
    # Before anything comes: a folder that is half there says whose it is.
    replace_text(folder / MANIFEST, json.dumps(_manifest(listing), indent=1) + "\n")
    request = Request(listing, hub.endpoint(), token, spec.revision, folder)
    done = transfer(request, [sys.executable], os.environ, tell)
    return _fetched(spec.service, listing, done, target=None, place=str(folder))


def bring(driver: Driver, release: Release, tell: Tell) -> Fetched | None:
    """Has a release's model where its engine looks for it. None: of a folder, or of a place that
    only the engine knows.

    Raises:
        As `fetch`.
    """
    plan, spec = release.plan, release.spec
    if plan.model_local:
        upload.bring(driver, release, tell)
        return None
    downloader = driver.downloader(release)
    if downloader is None:
        tell(Event("warning", "the engine downloads its model itself: its environment says where"))
        return None
    offline = spec.offline or hub.is_offline()
    token = hub_token(spec.hf_token_file)
    commit = plan.revision or None
    listing = hub.listing(plan.model, revision=commit, token=token, offline=offline)
    endpoint = plan.engine.env.get("HF_ENDPOINT") or hub.endpoint()
    request = Request(listing, endpoint, token, spec.revision, offline=offline)
    done = transfer(request, downloader.python, downloader.environment, tell)
    if done.downloaded:
        if driver.target == "process":
            name = f"{plan.model}@{listing.commit}"
            brought.note(Settings().state_dir, brought.Brought("model", name))
        tell(Event("note", f"{plan.model} is there, whole: {size(listing.size)}"))
    image = plan.engine.image if driver.target == "docker" else None
    return _fetched(
        release.service, listing, done, target=driver.target, place=downloader.place, image=image
    )


def bring_back(driver: Driver, release: Release, tell: Tell) -> None:
    """As `bring`, for a rollback, which must not fail because the Hub does: what has served
    before is most likely there.

    Raises:
        As `fetch`, but for what the Hub refuses or does not answer.
    """
    try:
        bring(driver, release, tell)
    except (HubError, ModelError) as error:
        tell(Event("warning", f"whether the model is there and whole is unknown: {error.message}"))


def _send(driver: Driver, release: Release, tell: Tell) -> Fetched:
    """Sends a folder's checkpoint to where its service will look for it: a claim, or a volume."""
    uploader = driver.uploader(release)
    if uploader is None:
        raise InputError(
            "the values say what holds the checkpoint: there is nothing to send",
            where="values: model",
            hint="leave model.claim, model.image and model.hostPath out, and it is sent to a claim",
        )
    folder = release.plan.model
    tell(Event("heading", f"{release.service}: {folder} to {uploader.place}"))
    came = upload.bring(driver, release, tell)
    listing = hub.listing(folder)
    done = Transferred(f"/models/{release.service}", came)
    target = driver.target
    image = release.plan.engine.image if target == "docker" else None
    return _fetched(
        release.service, listing, done, target=target, place=uploader.place, image=image
    )


def _fetched(
    service: str,
    listing: Listing,
    done: Transferred,
    *,
    target: TargetKind | None,
    place: str,
    image: str | None = None,
) -> Fetched:
    return Fetched(
        service,
        listing.model,
        listing.commit or None,
        target,
        place,
        done.path,
        files=len(listing.files),
        bytes=listing.size,
        downloaded=done.downloaded,
        image=image,
    )


def _manifest(listing: Listing) -> dict[str, Any]:
    files = {file.name: {"bytes": file.size, "digest": file.digest} for file in listing.files}
    return {
        "version": _VERSION,
        "model": listing.model,
        "revision": listing.commit,
        "files": files,
    }


def _refuse_other(folder: Path, listing: Listing) -> None:
    """Refuses a folder that holds something else: what is in it would be mixed.

    Raises:
        InputError: it does.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError("this is not a folder", where=f"--to {folder}", hint="name a new one")
    known = _read_manifest(folder)
    if known is None and any(folder.iterdir()):
        raise InputError(
            "the folder holds something already", where=f"--to {folder}", hint="name a new one"
        )
    if known is not None and (known.model, known.commit) != (listing.model, listing.commit):
        raise InputError(
            f"the folder holds {known.model} at {known.commit[:12]}, and {listing.model} is at "
            f"{listing.commit[:12]}",
            where=f"--to {folder}",
            hint=f"name another, or the commit that it holds: --revision {known.commit}",
        )


def _read_manifest(folder: Path) -> Listing | None:
    path = folder / MANIFEST
    try:
        document = given.parse_json(given.read_bytes(path, MAX_MANIFEST))
        files = tuple(
            StoredFile(str(name), int(said["bytes"]), str(said["digest"]))
            for name, said in document["files"].items()
        )
        model, commit = str(document["model"]), str(document["revision"])
    except NotFoundError:
        return None
    except (InputError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            "the list of what belongs into the folder is damaged",
            where=str(path),
            hint="fetch the model again into a new folder",
        ) from error
    return Listing(model, commit, files)


def _check_folder(spec: ServiceSpec, tell: Tell) -> Fetched:
    """Reads the headers of a folder's weights; and digests, where `fetch --to` made it."""
    documents = hub.fetch(spec.model)
    folder = Path(documents.source)
    known = _read_manifest(folder) if folder.is_dir() else None
    listing = known or hub.listing(spec.model)
    tell(Event("heading", f"{documents.source} is a folder of this machine: nothing to fetch"))
    if known is not None:
        request = Request(listing, "", None, folder=folder, offline=True)
        tell(Event("phase", f"checking {size(listing.size)} against the Hub's digests"))
        transfer(request, [sys.executable], os.environ, tell)
    done = Transferred(str(folder), 0)
    return _fetched(spec.service, listing, done, target=None, place=str(folder))
