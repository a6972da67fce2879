"""A restart of the machine: Docker ends its containers and starts them again by itself, and so does
a kubelet; for the target process a unit of systemd calls `stop` before it and `start` after it.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from deployctl import secretive
from deployctl.errors import DeployctlError, InterruptedByUserError, StateError, TargetError
from deployctl.events import Event, Tell, silent
from deployctl.files import make_folder
from deployctl.operations.deploy.deployment import rollback
from deployctl.operations.deploy.services import open_store
from deployctl.targets import Driver, drain, guards, history, open_driver
from deployctl.targets.gateway import Gateway
from deployctl.targets.history import Release
from deployctl.targets.lockfile import Patience
from deployctl.targets.process.runs import INTERRUPTED, run_of
from deployctl.targets.process.starting import unit_of
from deployctl.targets.rollout import REAL
from deployctl.targets.store import ServiceRef, Store

# What of the shell's environment an engine is started with, besides what systemd gives it.
_KEPT = (
    *("PATH", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "LD_LIBRARY_PATH"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"),
)


_FIRST_S = 15.0  # until one that failed is tried again; each time twice as long
_TRIES = 6  # of the unit: a disk may come late, or the network; the last one after 8 minutes
_CLOSES, _POLL_S = 50, 0.1  # looks at a gateway until it takes no more requests
# Of the unit: for requests under way to end (targets.drain, 60 s), and then engines and gateway. A
# user's systemd as a whole has 120 s to end (user@.service), of which the login that loads an
# engine may take some.
_STOP_S = 100
# For another deployctl to end what it does with a service that is to be stopped. What is left of
# _STOP_S is the gateway's to close, its requests' and its engine's, its supervisor killed too.
_LOCKED_S = 10.0
_PACKAGE = Path(__file__).parents[1]  # elsewhere after an update to another version of Python
_AWAIT = (
    'for it in "$1" "$3"; do '
    '[ -e "$it" ] || echo "waiting for $it"; until [ -e "$it" ]; do sleep 2; done; done; '
    'found() { [ -e "$2" ] || "$1" -P -c "import deployctl" 2>/dev/null; }; '
    'found "$@" || echo "waiting for deployctl of $1"; until found "$@"; do sleep 2; done'
)


class Became(NamedTuple):
    """What became of a service that should serve, or is to be stopped."""

    service: str
    revision: int | None  # that serves now, or did until now; None where that failed
    message: str = ""  # why, and where
    hint: str = ""  # what helps


class Unit(NamedTuple):
    """Of the user's systemd."""

    name: str  # of its file
    text: str


def unit() -> Unit:
    """A unit for the user's systemd. It has this Python, this state folder and what engines need of
    this environment, and no secret.

    Raises:
        StateError: the state folder, for which it waits, cannot be made.
    """
    settings, _ = open_store()
    name = unit_of(settings.state_dir)
    make_folder(settings.state_dir)
    # Where the state folder is a disk's itself, it is there before its content is.
    kept = settings.state_dir / "process"
    needed = (sys.executable, _PACKAGE, kept if kept.is_dir() else settings.state_dir)
    given = {name: os.environ.get(name, "") for name in _KEPT}
    said = {name: value for name, value in given.items() if value and not secretive.looks(value)}
    said["DEPLOYCTL_STATE_DIR"] = str(settings.state_dir)
    said["DEPLOYCTL_CACHE_DIR"] = str(settings.cache_dir)
    environment = [f"Environment={_quoted(f'{name}={value}')}" for name, value in said.items()]
    program = f"{_quoted(sys.executable)} -m deployctl boot"
    lines = [
        f"# {name}, made by deployctl boot.",
        "# Services of the target process serve again after a restart.",
        "[Unit]",
        "Description=Services of deployctl, as they were before the machine was restarted",
        "",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        "# A disk may come late, of which a user's systemd knows nothing (RequiresMountsFor=).",
        f"ExecStartPre=/bin/sh -c {' '.join(map(_argument, (_AWAIT, 'sh', *needed)))}",
        f"ExecStart={program} --start --tries {_TRIES}",
        f"ExecReload={program} --start",
        "# However it is stopped, while one loads and after one failed, too.",
        f"ExecStopPost={program} --stop",
        "# One that failed is no reason to end the others: deployctl status tells.",
        f"SuccessExitStatus={TargetError.exit_code}",
        *environment,
        "# An engine may load for long; its requests have a minute to end.",
        "TimeoutStartSec=infinity",
        f"TimeoutStopSec={_STOP_S}",
        "# What engines are told, deployctl tells them.",
        "KillMode=process",
        "# An engine that runs out of memory is started again, and takes no other with it.",
        "OOMPolicy=continue",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return Unit(name, "\n".join(lines) + "\n")


def start(
    tell: Tell = silent, *, tries: int = 1, sleep: Callable[[float], None] = time.sleep
) -> list[Became]:
    """Starts each service of the target process that should serve and does not, as it was recorded,
    one after the other; one that fails stops no other, and is tried again later. Those that were
    taken down stay down. Behind a gateway new requests wait meanwhile, from the first moment on.

    Raises:
        StateError: the records cannot be read.
        InterruptedByUserError: Ctrl-C.
    """
    settings, store = open_store()
    driver = open_driver("process", settings)
    serve: list[Became] = []
    refs = store.services("process")
    for number in range(tries):
        became = _start(driver, store, refs, tell)
        serve += [each for each in became if each.revision is not None]
        failed = [each for each in became if each.revision is None]
        if not failed or number == tries - 1:
            break
        pause_s = _FIRST_S * 2**number
        for each in failed:
            again = f"it is tried again in {pause_s:.0f} s"
            tell(Event("warning", f"{each.service} does not serve: {each.message}; {again}"))
        refs = [ServiceRef("process", each.service) for each in failed]
        sleep(pause_s)
    return serve + failed


def _start(driver: Driver, store: Store, refs: Sequence[ServiceRef], tell: Tell) -> list[Became]:
    due, became = [], []
    for ref in refs:
        try:
            due += [ref] if _due(driver, store, ref) is not None else []
        except DeployctlError as error:
            became.append(_failed(ref.service, error))
    if driver.gateway is not None:
        _hold(driver, driver.gateway, store, due, tell)
    for ref in due:
        try:
            release = _due(driver, store, ref)  # others may change it while the ones before load
            if release is None:
                continue
            text = f"{ref.service}: revision {release.revision} should serve, and does not"
            tell(Event("heading", text))
            rollback(ref.service, release.revision, target="process", tell=tell)
            became.append(Became(ref.service, release.revision))
        except InterruptedByUserError:
            _interrupted(driver, store, ref)
            raise
        except DeployctlError as error:
            became.append(_failed(ref.service, error))
            # A change of the gateway need not wait for it, nor do those that load after it.
            with suppress(StateError):
                guards.sign_off(store.folder(ref))
    return became


def _interrupted(driver: Driver, store: Store, ref: ServiceRef) -> None:
    """Notes why it does not serve: nobody has taken it down, nor has it died."""
    folder = store.folder(ref)
    with suppress(DeployctlError), guards.lock(folder, ref.service, "deployctl boot --start"):
        release = history.deployed(store.releases(ref))
        if release is not None and driver.state(release).condition == "absent":
            for each in history.replicas(release):
                run_of(folder, each).halt(datetime.now(UTC), INTERRUPTED)


def stop(
    tell: Tell = silent,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Became]:
    """Stops each service of the target process that serves, all at once, once its requests under
    way have ended or had a minute to do so; then nothing of them runs, the gateway neither. On
    record they serve, so that `start` brings them back. One that another deployctl changes is
    waited for, and left to that where it takes longer than 10 s.

    Raises:
        StateError: the records cannot be read.
    """
    settings, store = open_store()
    driver = open_driver("process", settings)
    refs = store.services("process")
    with ThreadPoolExecutor(len(refs) + 1) as pool:
        closing = pool.submit(_close, driver.gateway, tell)
        # Of a request that it takes once the doors are closed, nobody would hear any more.
        for _ in range(_CLOSES):
            if closing.done() or driver.gateway is None or driver.gateway.trouble():
                break
            sleep(_POLL_S)
        waits = Patience(_LOCKED_S, tell, clock, sleep)
        became = [*pool.map(lambda ref: _stop(driver, store, ref, tell, waits), refs)]
        closing.result()
    return [each for each in became if each is not None]


def _close(gateway: Gateway | None, tell: Tell) -> None:
    """Has it take no new request from now on, and end after the last one under way."""
    try:
        if gateway is not None:
            gateway.close(tell)
    except DeployctlError as error:
        tell(Event("warning", error.message))


def _stop(
    driver: Driver, store: Store, ref: ServiceRef, tell: Tell, waits: Patience
) -> Became | None:
    folder = store.folder(ref)

    def named(event: Event) -> None:
        tell(replace(event, text=f"{ref.service}: {event.text}"))

    try:
        with guards.lock(folder, ref.service, "deployctl boot --stop", waits=waits):
            release = history.deployed(store.releases(ref))
            if release is None or driver.state(release).condition != "running":
                return None
            drain.stop(driver, release, named, REAL)
            for each in history.replicas(release):
                with suppress(StateError):  # on a full disk: then it says less
                    run_of(folder, each).halt(datetime.now(UTC))
            return Became(ref.service, release.revision)
    except DeployctlError as error:
        return _failed(ref.service, error)


def _due(driver: Driver, store: Store, ref: ServiceRef) -> Release | None:
    """The revision that should run and does not."""
    release = history.deployed(store.releases(ref))
    runs = release is not None and driver.state(release).condition == "running"
    return None if runs else release


def _failed(service: str, error: DeployctlError) -> Became:
    said = f"{error.message} ({error.where})" if error.where else error.message
    return Became(service, None, said, error.hint or "")


def _hold(
    driver: Driver, gateway: Gateway, store: Store, due: Sequence[ServiceRef], tell: Tell
) -> None:
    """Has the gateway run before any engine does, and requests wait for those that are to come. One
    that another deployctl changes is that one's. What keeps the gateway from it, the start of each
    service says as well."""
    with ExitStack() as locks:
        ours = []
        for ref in due:
            with suppress(DeployctlError):
                lock = guards.lock(store.folder(ref), ref.service, "deployctl boot")
                locks.enter_context(lock)
                ours += [ref.service] if _due(driver, store, ref) is not None else []
        try:
            gateway.hold_all(ours, tell)
        except DeployctlError as error:
            tell(Event("warning", f"nothing waits in the gateway: {error.message}"))


def _argument(text: object) -> str:
    """As systemd reads a program's: it puts variables into it."""
    return _quoted(str(text)).replace("$", "$$")


def _quoted(text: str) -> str:
    """As systemd reads it: `%` is its own; `$` is not, in a variable and in a program's path."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
    return f'"{text}"'
