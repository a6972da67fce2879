"""One engine of a release, as a supervised process of this machine.

A service with `--replicas` has a run a replica, `runs/000001.0`, `runs/000001.1` and so on, each
with a supervisor, a door, a log and a port of its own; the rest of the name is the replica.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

from deployctl import host
from deployctl.endpoint import Endpoint
from deployctl.errors import TargetError
from deployctl.events import Event, Tell
from deployctl.files import make_folder, state_error, write_private
from deployctl.render import door, gateway
from deployctl.spec import TargetKind
from deployctl.spec.settings import Settings
from deployctl.targets import keys
from deployctl.targets.driver import OFFLINE, Downloader, EngineState
from deployctl.targets.gateway import Gateway
from deployctl.targets.gatewayfiles import FolderFiles
from deployctl.targets.history import Release, numbered, replicas
from deployctl.targets.process import logfile, preflight, procfs
from deployctl.targets.process.caddy import Caddy
from deployctl.targets.process.command import MARKER, Command, environment
from deployctl.targets.process.runs import RunFolder, run_of
from deployctl.targets.process.services import known
from deployctl.targets.process.starting import supervise, unit_of

GRACE_S = 15.0  # from SIGTERM to SIGKILL, for the engine
CHILD_GRACE_S = 2.0  # the same for children that outlive it
SUPERVISED_S = GRACE_S + CHILD_GRACE_S + 3  # for its supervisor to end both, and say so
_POLL_S = 0.02


class ProcessDriver:
    """Starts, finds and ends engines. What it knows is in `runs/` and in /proc.

    A release is one engine here: the only one that it has, or the replica that it names.
    """

    target: TargetKind = "process"
    replaces = False
    keys_count: Literal["now", "soon"] = "now"

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._state = settings.state_dir
        self._cache = settings.cache_dir
        self._clock = clock
        self._sleep = sleep
        folder = settings.state_dir / "gateway"
        files, proxy = FolderFiles(folder), Caddy(folder)
        told = known(settings.state_dir / self.target)
        self.gateway = Gateway(files, proxy, known=told, clock=clock, sleep=sleep)
        self._begun: set[Path] = set()  # folders of the runs that we have started

    def changing(self, service: str, command: str, tell: Tell) -> AbstractContextManager[None]:
        """Nobody changes it from elsewhere."""
        return nullcontext()

    def take_over(self, service: str, command: str, tell: Tell) -> None:
        """Nothing: a service is the state folder's."""

    def preflight(self, release: Release, replacing: Release | None) -> None:
        """Refuses what cannot work: no vLLM, another version, the model gone, the port taken."""
        preflight.check_platform()
        preflight.check_engine(release.plan)
        preflight.check_model(release.plan)
        entry = gateway.entry_of(release.bundle)
        going = replicas(replacing) if replacing is not None else []
        if not (going and entry):  # else it is started on another where that is taken
            for command in map(command_of, replicas(release)):
                if not any(self._port(one) == command.port and self._members(one) for one in going):
                    preflight.check_port(command.host, command.port)
        self.gateway.preflight(entry)

    def fetch(self, release: Release, tell: Tell) -> None:
        """Nothing: this Python has the engine, or `preflight` refuses."""

    def uploader(self, release: Release) -> None:
        """None: the engine reads the folder where it is."""

    def downloader(self, release: Release) -> Downloader:
        """This Python, with the environment of the engine: it decides where the cache is."""
        surroundings = environment(
            command_of(release),
            os.environ,
            run=self._run(release).folder,
            cache=self._cache_of(release.service),
            api_key=None,
            hub_token=None,
        )
        # By the engine's marker a process would be taken for one of it; its door is not ours.
        for name in (MARKER, door.VARIABLE):
            surroundings.pop(name, None)
        return Downloader((sys.executable,), surroundings, "the Hub's cache on this machine")

    def start(self, release: Release, tell: Tell, *, serves: Release | None = None) -> None:
        """Starts the supervisor, which starts the engine; returns once it is on record.

        Raises:
            StateError: the records could not be written; nothing runs.
        """
        run = self._run(release)
        if run.supervisor_alive():
            return
        command = self._command(release)
        # A candidate takes over what the service has compiled, and leaves it what it compiles.
        cache = self._cache_of(release.candidate_of or release.service)
        make_folder(cache)
        job = run.prepare(command, sys.executable, grace_s=GRACE_S, state=self._state)
        self.gateway.vacate(tell)  # one that died may have had this port
        asks = release.plan.asks_the_hub and not release.plan.asks_for_its_model_alone
        child_environment = environment(
            command,
            os.environ,
            run=run.folder,
            cache=cache,
            api_key=None if command.door else self._key(release),
            hub_token=keys.hub_token(release.spec, os.environ) if asks else None,
        )
        if release.plan.asks_for_its_model_alone:  # and that is there
            child_environment[OFFLINE] = "1"
        if command.door:
            run.place_door(command.door)
            with keys.locked(self._folder(release)):
                files = keys.of_the_door(self._folder(release), release.spec)
                keys.publish(run.secrets, files, mode=0o600)
            run.try_door(sys.executable, child_environment)
        unit = unit_of(self._state)
        supervise(job, child_environment, unit=unit, give_up=lambda: self.stop(release, tell))
        self._begun.add(run.folder)
        tell(Event("phase", "starting the engine"))

    def learn_keys(self, service: str) -> None:
        """They are changed here alone."""

    def changing_keys(self, service: str) -> AbstractContextManager[None]:
        """Nobody changes them from elsewhere."""
        return nullcontext()

    def publish_keys(self, release: Release) -> None:
        """Gives the door the keys as they are now.

        Raises:
            StateError: they cannot be read or written.
        """
        run = self._run(release)
        with keys.locked(self._folder(release)):
            if run.secrets.is_dir():  # else there is no door, or the next start publishes them
                files = keys.of_the_door(self._folder(release), release.spec)
                keys.publish(run.secrets, keys.with_gone(run.secrets, files), mode=0o600)

    def close_door(self, release: Release) -> bool:
        """Has the door let nobody in any more.

        Raises:
            StateError: the file that tells it cannot be written.
        """
        run = self._run(release)
        if not door.stands_before(release.bundle) or run.supervisor_alive() is None:
            return False
        if run.drain.exists():
            return False
        write_private(run.drain, b"")
        return True

    def stop(self, release: Release, tell: Tell) -> None:
        """Asks the engine to end, then makes it; ends whatever carries the run's marker.

        Raises:
            TargetError: something of it still runs.
        """
        run = self._run(release)
        supervisor = run.supervisor_alive()
        if supervisor is not None:
            procfs.send(supervisor, signal.SIGTERM)
            self._await_end([supervisor], SUPERVISED_S)
        for number, seconds in ((signal.SIGTERM, CHILD_GRACE_S), (signal.SIGKILL, 5.0)):
            left = self._members(release)
            if not left:
                break
            for who in left:
                procfs.send(who, number)
            self._await_end(left, seconds)
        left = self._members(release)
        if left:
            pids = ", ".join(str(who.pid) for who in left)
            raise TargetError(
                f"processes of {release.service} do not end: {pids}",
                where=str(run.folder),
                hint="they hang in the kernel (device or disk I/O); run deployctl down again",
            )
        if run.folder.is_dir():
            with keys.locked(self._folder(release)):
                run.forget()

    def state(self, release: Release) -> EngineState:
        """Looks at /proc, and at what the supervisor wrote down. An engine that we brought up
        ourselves, and that had to be started again meanwhile, has not come up.
        """
        run = self._run(release)
        if run.supervisor() is None:
            if run.folder.is_dir() and self._members(release):
                said = "its records are gone, but processes are left"
                return EngineState("dead", said, lingers=True)
            return run.absent()
        engine, restarts = run.engine(), run.restarts()
        started = engine[1] if engine else None
        ended = run.exit()
        if ended is not None:
            detail = restarts.why if restarts.gave_up else ended.detail
            return EngineState("dead", detail, started=started, restarts=restarts)
        supervisor = run.supervisor_alive()
        if supervisor is not None:
            family = procfs.descendants(supervisor)
            runs = engine is not None and procfs.alive(engine[0])
            failed = restarts.number > 0 and run.folder in self._begun
            return EngineState(
                "dead" if failed else "running",
                restarts.why if failed else "" if runs or not restarts.number else "it ended",
                started=started if runs else None,
                pid=engine[0].pid if engine and runs else None,
                pids=tuple(who.pid for who in family) if procfs.outermost() else (),
                memory_bytes=procfs.resident_bytes([supervisor, *family]),
                restarts=restarts,
                lingers=failed,
            )
        if not run.this_boot():
            return EngineState("dead", "the machine was restarted", started=started)
        detail = "its supervisor was killed"
        if orphans := self._members(release):
            detail += f"; {len(orphans)} of its processes are left"
        return EngineState("dead", detail, started=started, lingers=bool(orphans))

    def logs(self, release: Release, *, tail: int | None, follow: bool) -> Iterator[str]:
        """Yields the engine's log."""
        log = self._run(release).log
        if not follow:
            return iter(logfile.read(log, tail))
        return logfile.follow(log, tail, running=lambda: self._running(release), sleep=self._sleep)

    def endpoint(self, release: Release) -> Endpoint:
        """The loopback address: an exposed engine listens there too."""
        port, has_door = self._port(release), door.stands_before(release.bundle)
        token = keys.read_key(self._folder(release) / keys.OPERATOR_TOKEN) if has_door else None
        return Endpoint(
            f"http://127.0.0.1:{port}",
            release.plan.served_model_name,
            self._key(release),
            operator_token=token,
            gateway=self._behind(release),
        )

    def engines(self, release: Release) -> list[Endpoint]:
        """It alone."""
        return [self.endpoint(release)]

    def found(self, release: Release) -> list[Release]:
        """All that have a run: of a damaged record, too, which says nothing of them."""
        run = self._run(release).folder
        numbers = (path.suffix[1:] for path in run.parent.glob(f"{run.name}.*"))
        return [*numbered(release, sorted(int(n) for n in numbers if n.isdecimal())), release]

    def _behind(self, release: Release) -> str | None:
        """The address of the gateway, where it stands before the release's service."""
        if gateway.entry_of(release.bundle) is None:
            return None
        entry = self.gateway.entry(release.service)
        return entry.url if entry is not None else None

    def purge(self, service: str, tell: Tell, *, heir: str | None = None) -> None:
        """Removes the compile caches and the logs of a service; its history stays."""
        for folder in (self._cache_of(service), self._state / "process" / service / "runs"):
            if folder.exists():
                tell(Event("note", f"removing {folder}"))
                try:
                    shutil.rmtree(folder)
                except OSError as error:
                    raise state_error("remove", folder, error) from error

    def log_path(self, release: Release) -> Path | None:
        """The engine's log."""
        return self._run(release).log

    def _folder(self, release: Release) -> Path:
        return self._state / "process" / release.service

    def _run(self, release: Release) -> RunFolder:
        return run_of(self._folder(release), release)

    def _port(self, release: Release) -> int:
        """Where its engine listens, or will."""
        return self._run(release).port() or command_of(release).port

    def _command(self, release: Release) -> Command:
        """What is started. Behind a gateway, which is told where, one whose port is taken has
        another: the former engine is there until this one has answered, or somebody else is."""
        command = command_of(release)
        behind = gateway.entry_of(release.bundle) is not None
        taken = behind and preflight.port_error(command.host, command.port)
        return command_of(release, host.free_port()) if taken else command

    def _cache_of(self, service: str) -> Path:
        return self._cache / "engine" / service

    def _key(self, release: Release) -> str | None:
        return keys.needed_key(self._folder(release)) if release.spec.needs_api_key else None

    def _running(self, release: Release) -> bool:
        return self.state(release).condition == "running"

    def _members(self, release: Release) -> list[procfs.Identity]:
        """Every living process of a release, however it was orphaned."""
        run = self._run(release)
        supervisor = run.supervisor()
        session = supervisor.pid if supervisor and run.this_boot() else -1
        members = procfs.marked(MARKER, str(run.folder), session=session, folder=run.folder)
        alive = run.supervisor_alive()
        if alive is not None:
            members = list(dict.fromkeys([alive, *procfs.descendants(alive), *members]))
        return members

    def _await_end(self, members: list[procfs.Identity], seconds: float) -> None:
        deadline = self._clock() + seconds
        while any(procfs.alive(who) for who in members) and self._clock() < deadline:
            self._sleep(_POLL_S)


def command_of(release: Release, port: int | None = None) -> Command:
    """The command of a release's engine: of the replica that it names, at another `port`."""
    return Command(release.bundle, release.replica, port)
