"""DockerDriver: all engines of a release together, or the one that is named.

A service with `--replicas` is one Compose project with a service a replica, `engine`, `engine-1`
and so on, each with a container, a log, and volumes for its door and its keys of its own. The
caches are shared. They are started and replaced one at a time, so that the project may hold those
of two revisions.
"""

from collections.abc import Iterator
from pathlib import Path

from deployctl.endpoint import Endpoint
from deployctl.events import Tell
from deployctl.targets import several
from deployctl.targets.docker import siblings
from deployctl.targets.docker.driver import ContainerDriver
from deployctl.targets.driver import EngineState
from deployctl.targets.history import Release, numbered, replicas
from deployctl.targets.marked import marked


class DockerDriver(ContainerDriver):
    """What is told of a release, is told of each of its engines."""

    def start(self, release: Release, tell: Tell) -> None:
        """Starts those that do not run; returns once the containers of all do.

        Raises:
            DockerError, PortTakenError: Compose failed, in deployctl's words.
            StateError: the project folder cannot be written.
        """
        for each in replicas(release):
            super().start(each, tell)

    def publish_keys(self, release: Release) -> None:
        """Has the engine keep the keys as they are now, and gives them to each door that runs.

        Raises:
            StateError: they cannot be read or written.
            DockerError: they cannot be written where the engine has them.
        """
        for each in replicas(release):
            super().publish_keys(each)

    def close_door(self, release: Release) -> bool:
        """Has the doors let nobody in any more; whether one did until now."""
        told = [super(DockerDriver, self).close_door(each) for each in replicas(release)]
        return any(told)

    def stop(self, release: Release, tell: Tell) -> None:
        """Removes all that there is of a release, whatever its record says."""
        for each in self._found(release):
            super().stop(each, tell)

    def state(self, release: Release) -> EngineState:
        """Asks Docker of each; together they run where one does."""
        states = [super(DockerDriver, self).state(each) for each in replicas(release)]
        return several.together(states)

    def logs(self, release: Release, *, tail: int | None, follow: bool) -> Iterator[str]:
        """Yields the log of the one, or of one after the other; those that are followed, together,
        as they come."""
        each = replicas(release)
        logs = [super(DockerDriver, self).logs(one, tail=tail, follow=follow) for one in each]
        return marked(logs, together=follow)

    def endpoint(self, release: Release) -> Endpoint:
        """Of one engine, where it answers. Of several, the gateway; but the first engine where that
        is at a domain, of which this machine need not know."""
        each = replicas(release)
        found = super().endpoint(each[0])
        if len(each) == 1:
            return found
        front = self.gateway.front(release.service) or found.url
        return found._replace(url=front, replicas=tuple(self.engines(release)))

    def engines(self, release: Release) -> list[Endpoint]:
        """Each of them, by the gateway's monitor."""
        return [super(DockerDriver, self).endpoint(each) for each in replicas(release)]

    def log_path(self, release: Release) -> Path | None:
        """The engine's log; of several, the first one's."""
        return super().log_path(replicas(release)[0])

    def _found(self, release: Release) -> list[Release]:
        """All that have a container: of a damaged record, too, which says nothing of them. Last the
        release as a whole, with which goes what is left of its project."""
        if release.replica is not None:
            return [release]
        known = {each.replica for each in replicas(release) if each.replica is not None}
        numbers = known | siblings.replicas_of(self._engine(), release)
        return [*numbered(release, sorted(numbers)), release]
