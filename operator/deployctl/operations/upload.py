"""A checkpoint in a local folder, and an engine that does not see it: the bundle names its digest,
and what holds exactly that is filled before an engine is touched.
"""

import os
from pathlib import Path

from deployctl import hub
from deployctl.doctor.shell import away
from deployctl.errors import ModelError
from deployctl.events import Tell
from deployctl.hub import digests
from deployctl.hub.listing import Listing
from deployctl.operations.bundle import ChartOptions
from deployctl.operations.prepare import Prepared
from deployctl.planning.plan import ServingPlan
from deployctl.spec import TargetKind
from deployctl.spec.settings import Settings
from deployctl.targets.driver import Driver, ModelFile
from deployctl.targets.history import Release


def for_a_folder(prepared: Prepared, options: ChartOptions, tell: Tell) -> ChartOptions:
    """The chart's options with the digest of the folder, where the release is to have it on a
    claim: on Kubernetes, unless the user's values name what holds it.

    Raises:
        ModelError: a file cannot be read, or changes meanwhile.
    """
    if prepared.target != "kubernetes" or not prepared.plan.model_local:
        return options
    from deployctl.render.helm import has_place, merge

    if has_place(options.overrides.get("model") or {}):
        return options
    listing = _listing(prepared.plan.model, tell)
    own = {"model": {"digest": digests.whole_digest(listing)}}
    return options._replace(overrides=merge(options.overrides, own))


def is_elsewhere(target: TargetKind | None) -> bool:
    """Whether a target's engines do not see this machine's folders: by ssh, on another host."""
    return target == "docker" and away(os.environ)


def for_an_engine(prepared: Prepared, tell: Tell) -> Prepared:
    """The plan with the digest of the folder, where the release is to have it on another host.

    Raises:
        DockerError: the engine cannot be asked where it is.
        ModelError: a file cannot be read, or changes meanwhile.
    """
    digest = digest_there(prepared.target, prepared.plan, tell)
    return prepared._replace(plan=prepared.plan.model_copy(update={"checkpoint": digest}))


def digest_there(target: TargetKind, plan: ServingPlan, tell: Tell) -> str:
    """The digest of a plan's folder, where its engine is to have it on another host; else none.

    Raises:
        As `for_an_engine`.
    """
    if target != "docker" or not plan.model_local:
        return ""
    from deployctl.targets.docker.engine import here

    return digests.whole_digest(_listing(plan.model, tell)) if here().address.remote else ""


def bring(driver: Driver, release: Release, tell: Tell) -> int:
    """Has the folder of a release's checkpoint where its engine looks for it; returns the bytes
    that came now.

    Raises:
        ModelError: it is not what the release was made from any more.
        TargetError: it cannot be sent.
        InterruptedByUserError: Ctrl-C; what has come is kept.
    """
    uploader = driver.uploader(release)
    if uploader is None or uploader.is_there():
        return 0
    hint = f"up with the folder as it is now, or have it as it was: {uploader.place} lacks it"
    folder = Path(release.plan.model)
    if not folder.is_dir():
        raise ModelError(
            f"revision {release.revision} serves a checkpoint that is not where its engine is any "
            "more, and its folder is not on this machine",
            where=str(folder),
            hint=hint,
        )
    listing = _listing(str(folder), tell)
    if digests.whole_digest(listing) != uploader.digest:
        raise ModelError("the folder's files were changed", where=str(folder), hint=hint)
    files = [ModelFile(file.name, file.size, file.digest) for file in listing.files]
    try:
        return uploader.upload(folder, files, tell)
    except ModelError:
        digests.forget(folder, _memory())  # they may have been remembered wrong
        raise


def _listing(folder: str, tell: Tell) -> Listing:
    return digests.digested(hub.listing(folder), _memory(), tell)


def _memory() -> Path:
    return Settings().cache_dir / "digests"
