"""ProcessDriver: all engines of a release together, or the one that is named.

A service with `--replicas` has a run a replica, `runs/000001.0`, `runs/000001.1` and so on, each
with a supervisor, a door, a log and a port of its own; the rest of the name is the replica.
"""

from collections.abc import Iterator
from pathlib import Path

from deployctl.endpoint import Endpoint
from deployctl.events import Tell
from deployctl.targets import several
from deployctl.targets.driver import EngineState
from deployctl.targets.history import Release, numbered, replicas
from deployctl.targets.marked import marked
from deployctl.targets.process.driver import EngineDriver, command_of


class ProcessDriver(EngineDriver):
    """What is told of a release, is told of each of its engines."""

    def preflight(self, release: Release, replacing: Release | None) -> None:
        """Refuses what cannot work, for each: its port may be that of any engine that goes."""
        going = replicas(replacing) if replacing is not None else []
        for each in replicas(release):
            port = command_of(each).port
            twin = next((one for one in going if self._port(one) == port), None)
            super().preflight(each, twin)

    def start(self, release: Release, tell: Tell) -> None:
        """Starts those that do not run; returns once all are on record.

        Raises:
            StateError: the records could not be written.
            TargetError: CUDA_VISIBLE_DEVICES names too few cards.
        """
        for each in replicas(release):
            super().start(each, tell)

    def publish_keys(self, release: Release) -> None:
        """Gives each door the keys as they are now.

        Raises:
            StateError: they cannot be read or written.
        """
        for each in replicas(release):
            super().publish_keys(each)

    def close_door(self, release: Release) -> bool:
        """Has the doors let nobody in any more; whether one did until now.

        Raises:
            StateError: the file that tells it cannot be written.
        """
        told = [super(ProcessDriver, self).close_door(each) for each in replicas(release)]
        return any(told)

    def stop(self, release: Release, tell: Tell) -> None:
        """Ends all that there is of a release, whatever its record says.

        Raises:
            TargetError: something of it still runs.
        """
        for each in self._found(release):
            super().stop(each, tell)

    def state(self, release: Release) -> EngineState:
        """Looks at each; together they run where one does."""
        states = [super(ProcessDriver, self).state(each) for each in replicas(release)]
        return several.together(states)

    def logs(self, release: Release, *, tail: int | None, follow: bool) -> Iterator[str]:
        """Yields the log of the one, or of one after the other; those that are followed, together,
        as they come."""
        each = replicas(release)
        logs = [super(ProcessDriver, self).logs(one, tail=tail, follow=follow) for one in each]
        return marked(logs, together=follow)

    def endpoint(self, release: Release) -> Endpoint:
        """Of one engine, its loopback address. Of several, the gateway's; but the first engine's
        where that is at a domain, of which this machine need not know."""
        each = replicas(release)
        found = super().endpoint(each[0])
        entry = self.gateway.entry(release.service) if len(each) > 1 else None
        if len(each) > 1:
            found = found._replace(replicas=tuple(self.engines(release)))
        return found if entry is None or entry.domain else found._replace(url=entry.url)

    def engines(self, release: Release) -> list[Endpoint]:
        """Each of them, by its own port."""
        return [super(ProcessDriver, self).endpoint(each) for each in replicas(release)]

    def log_path(self, release: Release) -> Path | None:
        """The engine's log; of several, the first one's."""
        return super().log_path(replicas(release)[0])

    def _found(self, release: Release) -> list[Release]:
        """All that have a run: of a damaged record, too, which says nothing of them."""
        if release.replica is not None:
            return [release]
        runs = self._run(release).folder
        numbers = [path.suffix[1:] for path in runs.parent.glob(f"{runs.name}.*")]
        found = [int(number) for number in numbers if number.isdecimal()]
        return [release, *numbered(release, sorted(found))]
