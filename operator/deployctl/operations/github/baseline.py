"""The last good runs of a branch: artefacts of its green runs, with the same identity.

GitHub knows an artefact by its name, and so the name says what was measured and on what. What an
artefact holds is data: two files of it are read, within bounds, and nothing is unpacked elsewhere.
"""

import hashlib
import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from deployctl.errors import DeployctlError, InputError
from deployctl.load import folder
from deployctl.load.folder import SavedRun
from deployctl.operations.github.api import GitHub
from deployctl.reports.gatepage import GoodRun, MeasuredOn

MOST_ARTIFACT = 64 * 1024 * 1024  # bytes, packed
_MOST_UNPACKED = 512 * 1024 * 1024
# What zipfile raises of an archive that is none, or is broken somewhere.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    KeyError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    EOFError,
)
_PAGES = 10  # of artefacts of that name, a hundred each: those of pull requests are among them
_LOOKED_AT = 100  # runs of the branch, the newest first: each is a request
_TAKEN = 12  # results that are downloaded
# A pull request's run is no run of its base branch, though its head may have the same name.
_OF_A_CHANGE = ("pull_request", "pull_request_target", "workflow_run")


class Found(NamedTuple):
    """A good run, and what it measured."""

    good: GoodRun
    run: SavedRun


def artifact_name(identity: MeasuredOn) -> str:
    """The name of an artefact that may become a baseline for this identity."""
    parts = identity.model_dump().values()
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:12]
    slug = re.sub(r"[^a-z0-9-]+", "-", identity.service.lower()).strip("-")[:40]
    return f"deployctl-gate-{slug or 'service'}-{digest}"


def good_runs(github: GitHub, name: str, branch: str, into: Path) -> Iterator[Found]:
    """The green runs of `branch` that have an artefact of this name, the newest first: as many as
    are asked for, within bounds.

    Raises:
        TargetError: GitHub does not answer, or refuses.
    """
    own, taken = os.environ.get("GITHUB_RUN_ID", ""), 0
    seen: set[int] = set()
    for known in github.every("/actions/artifacts", "artifacts", _PAGES, name=name):
        of = known.get("workflow_run") or {}
        run = of.get("id")
        if not isinstance(run, int) or run in seen or str(run) == own or known.get("expired"):
            continue
        # A fork may have a branch of any name; its artefacts are listed here too.
        ours = of.get("repository_id") == of.get("head_repository_id")
        if known.get("name") != name or of.get("head_branch") != branch or not ours:
            continue
        if len(seen) >= _LOOKED_AT or taken >= _TAKEN:
            return
        seen.add(run)
        if not _is_good(github.ask("GET", f"/actions/runs/{run}")):
            continue
        identifier, taken = int(known["id"]), taken + 1
        content = github.download(f"/actions/artifacts/{identifier}/zip", MOST_ARTIFACT)
        try:
            saved = _unpacked(content, into / str(run))
        except DeployctlError:
            continue  # what cannot be read is compared with nothing
        good = GoodRun(run=run, commit=str(of.get("head_sha", ""))[:40], artifact=identifier)
        yield Found(good, saved._replace(folder=f"run {run}"))


def _is_good(run: Any) -> bool:
    return (
        isinstance(run, dict)
        and run.get("conclusion") == "success"
        and run.get("event") not in _OF_A_CHANGE
    )


def _unpacked(content: bytes, into: Path) -> SavedRun:
    """The result in an artefact.

    Raises:
        InputError: it holds none.
    """
    into.mkdir(parents=True)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in (folder.SUMMARY, folder.REQUESTS):
                with archive.open(name) as packed, (into / name).open("wb") as file:
                    left = _MOST_UNPACKED
                    while block := packed.read(min(left + 1, 1 << 20)):
                        left -= len(block)
                        if left < 0:
                            raise InputError("it is too large", where=name)
                        file.write(block)
    except _BROKEN as error:
        raise InputError("it is no result of a load test", where=str(into)) from error
    return folder.read(into)
