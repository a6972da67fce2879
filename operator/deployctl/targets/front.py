"""Front: what a rollout tells the gateway before a service, where there is one.

Before the engine's door closes, new requests are held; once the next engine has answered, they are
led to it, those that wait among them. A service that goes is no longer served first, and then its
requests under way end.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from deployctl.errors import TargetError
from deployctl.events import Event, Tell
from deployctl.render import gateway as rendered
from deployctl.targets.driver import Driver
from deployctl.targets.history import Release, replicas
from deployctl.targets.waits import Waits


class HeldRequests(NamedTuple):
    """Requests were held while an engine was replaced."""

    seconds: float  # as long as one can have waited for that
    waits: Waits  # of those that have ended by now

    def document(self) -> dict[str, float]:
        """What JSON answers say of it."""
        told = self.waits._asdict()
        return {
            "seconds": round(self.seconds, 1),
            **told,
            "longest_s": round(self.waits.longest_s, 1),
        }


class Front:
    """The gateway before one service of a target; nothing where the target has none."""

    def __init__(
        self,
        driver: Driver,
        service: str,
        tell: Tell,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._driver = driver
        self._service = service
        self._tell = tell
        self._clock = clock
        self._now = now
        self._since: tuple[float, float] | None = None  # by the clock, and since the epoch
        self._seconds = 0.0
        self._holds = False

    def begin(self, release: Release) -> None:
        """Before its engine is asked: has the gateway run, where that is reached by it alone.

        Raises:
            TargetError: it does not start.
        """
        if self._driver.gateway is not None:
            self._driver.gateway.begin(rendered.entry_of(release.bundle), self._tell)

    def spare(self, engines: Sequence[Release]) -> None:
        """Has new requests go to the other replicas alone.

        Raises:
            StateError: it cannot be told.
        """
        if self._driver.gateway is not None:
            numbers = {each.replica or 0 for each in engines}
            self._driver.gateway.hold(self._service, numbers)

    def hold(self) -> None:
        """Has new requests wait from now on, where they do not yet.

        Raises:
            StateError: it cannot be told.
        """
        gateway = self._driver.gateway
        if gateway is not None and not self._holds and gateway.hold(self._service):
            self._holds = True
            self._since = self._since or (self._clock(), self._now().timestamp())
            self._tell(Event("note", "new requests wait in the gateway"))

    def foretell(self, release: Release) -> None:
        """Says, while requests wait for a release that is behind no gateway, what they wait for."""
        if not self._holds or rendered.entry_of(release.bundle) is not None:
            return
        what = "go to it" if self._takes_waiting(release) else "are turned away with 503"
        name = f"revision {release.revision} is behind no gateway: once it answers"
        ends = f"and the gateway serves {self._service} no more"
        self._tell(Event("note", f"{name}, requests that wait there {what}, {ends}"))

    def _takes_waiting(self, release: Release) -> bool:
        """Whether those that wait can go to a release that is behind no gateway: the proxy reaches
        it, and who came from outside does not get past a key."""
        gateway = self._driver.gateway
        if gateway is None or gateway.contained:
            return False
        return release.spec.expose or not gateway.exposes(self._service)

    def shut(self, release: Release) -> None:
        """Before an engine of this release starts, which may ask for no key where it is not to be
        exposed: nobody from outside is led to where it listens, whatever was stopped before.

        Raises:
            StateError: it cannot be told.
        """
        gateway, wanted = self._driver.gateway, rendered.entry_of(release.bundle)
        if gateway is None or (wanted is not None and wanted.exposed):
            return
        if gateway.exposes(self._service):
            self.hold()

    def lead(
        self, release: Release, *, answers: bool = True, engines: Sequence[Release] | None = None
    ) -> None:
        """Leads requests to a release, as it wants, or to the `engines` that are in its places. The
        gateway runs then, where one is wanted, and leads a request to one, if that `answers`.

        Raises:
            InputError: another service has its port of the gateway otherwise.
            TargetError: the gateway does not start, takes no such configuration, or hangs.
        """
        gateway, wanted = self._driver.gateway, rendered.entry_of(release.bundle)
        if gateway is None:
            return
        self._holds = False
        found = [self._driver.endpoint(each) for each in engines or replicas(release)]
        at = [each.upstream or urlsplit(each.url).netloc for each in found]
        if wanted is None:
            to = at if self._takes_waiting(release) else []
            if gateway.leave(self._service, self._tell, to=to) == []:
                self.end()
        else:
            entry = gateway.admit(wanted, *at, tell=self._tell)
            if answers:
                gateway.await_answer(entry)
        if self._since is not None:
            self._seconds = self._clock() - self._since[0]

    def take_back(self, previous: Release | None) -> None:
        """Before a release is stopped that may have been led to: has new requests wait for the
        `previous` one. Where none is to serve in its stead, they wait as well, and nobody for them.
        """
        gateway = self._driver.gateway
        with suppress(TargetError):  # then the door turns them away, and they are tried again
            if previous is not None:
                self.hold()
            elif gateway is not None:
                gateway.lead(self._service, rendered.NOBODY)

    def leave(self) -> None:
        """Serves the service no more.

        Raises:
            TargetError: the gateway takes no such configuration.
        """
        if self._driver.gateway is not None:
            self._driver.gateway.leave(self._service, self._tell)

    def end(self) -> None:
        """Ends the gateway, where it stands before no service.

        Raises:
            TargetError: something of it still runs.
        """
        gateway = self._driver.gateway
        if gateway is not None and gateway.end_unused(self._service, self._tell):
            self._tell(Event("note", "the gateway has ended: it stood before no other service"))

    def held(self) -> HeldRequests | None:
        """What holding came to; None where nothing was held."""
        gateway = self._driver.gateway
        if gateway is None or self._since is None:
            return None
        return HeldRequests(self._seconds, gateway.waits(self._service, self._since[1]))
