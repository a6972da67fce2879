"""All engines of a release on a host, as one; and what they come to together."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from deployctl.endpoint import Endpoint
from deployctl.events import Tell
from deployctl.targets.driver import Driver, EngineState
from deployctl.targets.gateway import Gateway
from deployctl.targets.history import Release, replicas
from deployctl.targets.marked import marked
from deployctl.targets.restarts import Restarts


class OneByOne(Driver, Protocol):
    """The driver of a host's target, that of each engine by itself: what is told it of an engine is
    of a release that has one, or names the replica. What is a service's, and what comes before any
    engine, is of the release as a whole."""

    @property
    def gateway(self) -> Gateway:
        """What may stand before its services."""

    def found(self, release: Release) -> list[Release]:
        """Each engine that is there of a release, whatever its record says of them; last what is
        left then.
        """


class HostDriver:
    """Has what is told of a release told of each of its engines, or of the one that it names."""

    def __init__(self, one: OneByOne) -> None:
        self._one = one
        self.target, self.replaces, self.keys_count = one.target, one.replaces, one.keys_count
        self.gateway = one.gateway
        # A service's:
        self.changing, self.take_over, self.purge = one.changing, one.take_over, one.purge
        self.changing_keys, self.learn_keys = one.changing_keys, one.learn_keys
        # Before any engine:
        self.preflight, self.fetch = one.preflight, one.fetch
        self.downloader, self.uploader = one.downloader, one.uploader

    def start(self, release: Release, tell: Tell, *, serves: Release | None = None) -> None:
        """Starts those that do not run; returns once all are on record."""
        for each in replicas(release):
            self._one.start(each, tell, serves=serves)

    def publish_keys(self, release: Release) -> None:
        """Gives each door the keys as they are now."""
        for each in replicas(release):
            self._one.publish_keys(each)

    def close_door(self, release: Release) -> bool:
        """Has the doors let nobody in any more; whether one did until now."""
        told = [self._one.close_door(each) for each in replicas(release)]
        return any(told)

    def stop(self, release: Release, tell: Tell) -> None:
        """Ends all that there is of a release, whatever its record says."""
        for each in self._one.found(release) if release.replica is None else [release]:
            self._one.stop(each, tell)

    def state(self, release: Release) -> EngineState:
        """Looks at each; together they run where one does."""
        return together([self._one.state(each) for each in replicas(release)])

    def logs(self, release: Release, *, tail: int | None, follow: bool) -> Iterator[str]:
        """Yields the log of the one, or of one after the other; those that are followed, together,
        as they come."""
        each = replicas(release)
        logs = [self._one.logs(one, tail=tail, follow=follow) for one in each]
        return marked(logs, together=follow)

    def endpoint(self, release: Release) -> Endpoint:
        """Of one engine, where it answers. Of several, the gateway; but the first engine where that
        is at a domain, of which this machine need not know."""
        each = self.engines(release)
        if len(each) == 1:
            return each[0]
        first, front = each[0], self.gateway.front(release.service)
        if front is not None:
            first = first._replace(url=front, there=first.there and first.gateway)
        return first._replace(replicas=tuple(each))

    def engines(self, release: Release) -> list[Endpoint]:
        """Each of them, past the gateway."""
        return [self._one.endpoint(each) for each in replicas(release)]

    def log_path(self, release: Release) -> Path | None:
        """The engine's log; of several, the first one's."""
        return self._one.log_path(replicas(release)[0])


def together(states: Sequence[EngineState]) -> EngineState:
    """They run where one does; of one alone, that."""
    if len(states) == 1:
        return states[0]
    running = [state for state in states if state.condition == "running"]
    said = [
        f"replica {number}: {state.detail or 'it does not run'}"
        for number, state in enumerate(states)
        if state.detail or state.condition != "running"
    ]
    if running and len(running) < len(states):
        said.insert(0, f"{len(running)} of {len(states)} replicas run")
    absent = all(state.condition == "absent" for state in states)
    halted = next((state for state in states if absent and state.halted), None)
    if halted is not None:
        return halted
    return EngineState(
        "running" if running else "absent" if absent else "dead",
        "" if absent else "; ".join(said),
        started=min((state.started for state in running if state.started), default=None),
        pids=tuple(pid for state in running for pid in state.pids),
        memory_bytes=sum(state.memory_bytes or 0 for state in running) or None,
        restarts=_restarts([state.restarts for state in states]),
        lingers=not running and any(state.lingers for state in states),
    )


def _restarts(each: Sequence[Restarts]) -> Restarts:
    """All that were started again, and why the last one was."""
    last, number = max((one.last or "", number) for number, one in enumerate(each))
    memory = [f"{one.memory} as replica {n}" for n, one in enumerate(each) if one.memory]
    why = f"replica {number}: {each[number].why}" if last else ""
    return Restarts(sum(one.number for one in each), last or None, why, memory=", ".join(memory))
