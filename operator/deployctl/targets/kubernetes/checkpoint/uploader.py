"""ClaimUploader: a checkpoint of this machine gets onto its claim, once, whoever asks for it."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from deployctl.errors import InterruptedByUserError, LockedError, TargetError
from deployctl.events import Event, Tell
from deployctl.render import modelclaim
from deployctl.targets.driver import ModelFile
from deployctl.targets.history import Release
from deployctl.targets.kubernetes import lease
from deployctl.targets.kubernetes.checkpoint import claim, loader
from deployctl.targets.kubernetes.checkpoint.claim import Cargo
from deployctl.targets.kubernetes.checkpoint.loader import Loader
from deployctl.targets.kubernetes.checkpoint.sending import Sending
from deployctl.targets.kubernetes.cluster import PATIENCE_S, Cluster, Document, UnreachableError
from deployctl.targets.kubernetes.podstream import opened
from deployctl.units import size

if TYPE_CHECKING:
    from deployctl.render.values import Values

_LOOK_S = 2.0
_SENDS = re.compile(r"deployctl \S+ (?P<service>\S+) \(")  # who holds a claim's lock


def uploader_of(cluster: Cluster, release: Release) -> "ClaimUploader | None":
    """The uploader of a release; None where its checkpoint is somebody else's business."""
    values = modelclaim.brought(release.bundle)
    if values is None:
        return None
    command = f"deployctl {release.reason.split()[0]} {release.service}"
    revision = release.revision
    return ClaimUploader(cluster, release.service, values, command=command, revision=revision)


def being_sent(cluster: Cluster) -> dict[str, str]:
    """That a checkpoint is on its way to a claim, which, and who sends it; by the service that it
    is sent for. None where we may not read Leases."""
    try:
        holders = lease.holders(cluster)
    except TargetError:
        return {}
    seen = ((_SENDS.match(who), name, who) for name, who in holders.items())
    return {
        sends["service"]: f"its checkpoint is being sent to claim {name} by {who}"
        for sends, name, who in seen
        if sends
    }


class ClaimUploader:
    """Of one release."""

    def __init__(
        self,
        cluster: Cluster,
        service: str,
        values: "Values",
        sleep: Callable[[float], None] = time.sleep,
        *,
        command: str = "deployctl up",
        revision: int = 0,
    ) -> None:
        self._command = command
        self._revision = revision
        self._cluster = cluster
        self._service = service
        self._values = values
        self._name = values.model.claim
        self._sleep = sleep
        self.digest = values.model.digest
        self.place = f"claim {self._name} in namespace {cluster.namespace}"

    def is_there(self) -> bool:
        """Whether all of it is there already, and was checked."""
        return claim.is_whole(claim.find(self._cluster, self._name), self.digest)

    def begin_use(self, tell: Tell) -> None:
        """Notes that the service uses the claim, and tells what one of a single node means."""
        others = claim.use(self._cluster, self._name, self._service, self._revision)
        found = claim.find(self._cluster, self._name)
        if found is None or not claim.of_one_node(found):
            return
        hint = "model: {upload: {accessMode: ReadWriteMany}} in --values makes one for all nodes"
        if others:
            who = f"all pods of {self._service} and of {', '.join(others)}, which use it too,"
            tell(Event("warning", f"claim {self._name} is one node's: {who} run there; {hint}"))
        elif self._values.replicas > 1:
            tell(
                Event(
                    "warning", f"claim {self._name} is one node's: all replicas run there; {hint}"
                )
            )

    def upload(self, folder: Path, files: Sequence[ModelFile], tell: Tell) -> int:
        """Sends what is missing, and checks it; waits while another sends the same."""
        cargo = Cargo(folder, self.digest, files)
        with self._alone(tell):
            if self.is_there():
                return 0
            try:
                return self._fill(cargo, tell)
            except KeyboardInterrupt as error:
                raise InterruptedByUserError(
                    f"interrupted while {folder.name} was sent",
                    hint="what has come is kept: up again, and it goes on from there",
                ) from error

    @contextmanager
    def _alone(self, tell: Tell) -> Iterator[None]:
        """Holds the claim's own lock: two services may want the same checkpoint at once."""
        told = False
        with ExitStack() as lock:
            while True:
                try:
                    lock.enter_context(lease.held(self._cluster, self._name, self._command))
                    break
                except LockedError as error:
                    if not told:
                        tell(Event("phase", f"waiting: {error.message}"))
                        told = True
                self._sleep(_LOOK_S)
            yield

    def _fill(self, cargo: Cargo, tell: Tell) -> int:
        cluster, name = self._cluster, self._name
        made = claim.make(cluster, claim.document(name, self._values, cargo))
        claim.use(cluster, name, self._service, self._revision)
        sending = Sending(cargo, name, tell)
        work = Loader(cluster, name, tell, self._sleep)
        try:
            tell(Event("phase", f"starting a pod that takes {size(cargo.size)} to claim {name}"))
            self._send(sending, work, cargo.size)
            claim.mark_whole(cluster, name)
        except BaseException:
            if made and not sending.sent:  # nothing is on it: it is not left behind
                work.end()
                with suppress(TargetError):
                    cluster.delete(cluster.path("v1", "persistentvolumeclaims", name))
            raise
        finally:
            with suppress(TargetError):  # it ends by itself too
                work.end()
        tell(Event("note", f"{cargo.folder.name} is on claim {name}, whole: {size(cargo.size)}"))
        return sending.sent

    def _send(self, sending: Sending, work: Loader, stored: int) -> None:
        """Tries until all is there; gives up when nothing moved for PATIENCE_S."""
        since, sent, begun = time.monotonic(), -1, False
        while True:
            try:
                if not begun or work.has_ended():
                    work.begin(self._job(stored))
                    begun = True
                sending.send(partial(opened, self._cluster, work.pod(), loader.PORT))
                return
            except UnreachableError:
                now = time.monotonic()
                if sending.sent > sent:
                    since, sent = now, sending.sent
                elif now - since > PATIENCE_S:
                    raise
                self._sleep(1.0)

    def _job(self, stored: int) -> Document:
        return loader.document(self._name, self._values, stored, beside=self._beside())

    def _beside(self) -> str | None:
        """The service's own cache, where it stays with a node: there the checkpoint must be too."""
        cache = self._values.cache
        if not cache.enabled:
            return None
        name = cache.existing_claim or f"{self._values.name or self._service}-cache"
        found = claim.find(self._cluster, name)
        return name if found is not None and claim.of_one_node(found) else None
