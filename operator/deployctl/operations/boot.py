"""After a restart of the machine: Docker starts its containers again by itself, and so does a
kubelet; for the target process a unit of systemd calls `start`.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import NamedTuple

from deployctl import secretive
from deployctl.errors import DeployctlError, InterruptedByUserError
from deployctl.events import Event, Tell, silent
from deployctl.operations.deploy.deployment import rollback
from deployctl.operations.deploy.services import open_store
from deployctl.targets import Driver, guards, history, open_driver
from deployctl.targets.gateway import Gateway
from deployctl.targets.history import Release
from deployctl.targets.store import ServiceRef, Store

# What of the shell's environment an engine is started with, besides what systemd gives it.
_KEPT = (
    *("PATH", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "LD_LIBRARY_PATH"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"),
)


class StartedAgain(NamedTuple):
    """What became of a service that should serve."""

    service: str
    revision: int | None  # that serves now; None where none does
    message: str = ""  # why it does not, and where
    hint: str = ""  # what helps


def unit() -> str:
    """A unit for the user's systemd. It has this Python, this state folder and what engines need of
    this environment, and no secret.
    """
    settings, _ = open_store()
    given = {name: os.environ.get(name, "") for name in _KEPT}
    said = {name: value for name, value in given.items() if value and not secretive.looks(value)}
    said["DEPLOYCTL_STATE_DIR"] = str(settings.state_dir)
    said["DEPLOYCTL_CACHE_DIR"] = str(settings.cache_dir)
    environment = [f"Environment={_quoted(f'{name}={value}')}" for name, value in said.items()]
    lines = [
        "# Made by deployctl boot. Services of the target process serve again after a restart.",
        "[Unit]",
        "Description=Services of deployctl, as they were before the machine was restarted",
        "",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        f"ExecStart={_quoted(sys.executable)} -m deployctl boot --start",
        *environment,
        "# An engine may load for long, and one that failed is no reason to end the others.",
        "TimeoutStartSec=infinity",
        "KillMode=process",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def start(tell: Tell = silent) -> list[StartedAgain]:
    """Starts each service of the target process that should serve and does not, as it was recorded,
    one after the other; one that fails stops no other. Those that were taken down stay down. Behind
    a gateway new requests wait meanwhile, from the first moment on.

    Raises:
        StateError: the records cannot be read.
        InterruptedByUserError: Ctrl-C.
    """
    settings, store = open_store()
    driver = open_driver("process", settings)
    due, became = [], []
    for ref in store.services("process"):
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
            became.append(StartedAgain(ref.service, release.revision))
        except InterruptedByUserError:
            raise
        except DeployctlError as error:
            became.append(_failed(ref.service, error))
    return became


def _due(driver: Driver, store: Store, ref: ServiceRef) -> Release | None:
    """The revision that should run and does not."""
    release = history.deployed(store.releases(ref))
    runs = release is not None and driver.state(release).condition == "running"
    return None if runs else release


def _failed(service: str, error: DeployctlError) -> StartedAgain:
    said = f"{error.message} ({error.where})" if error.where else error.message
    return StartedAgain(service, None, said, error.hint or "")


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


def _quoted(text: str) -> str:
    """As systemd reads it: `%` is its own; `$` is not, in a variable and in a program's path."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
    return f'"{text}"'
