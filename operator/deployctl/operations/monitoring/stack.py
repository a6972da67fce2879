"""Monitoring of a host's own: brought up beside services, kept in step with them, ended."""

import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from deployctl.errors import (
    DeployctlError,
    InputError,
    PlanRefusedError,
    StateError,
)
from deployctl.events import Event, Tell, silent
from deployctl.files import make_folder, write_private
from deployctl.given import read_word
from deployctl.operations.monitoring.ready import REPLAY_S, START_S, reloaded, wait_ready
from deployctl.operations.monitoring.request import MonitoringRequest
from deployctl.operations.monitoring.watched import Scraped, services_here
from deployctl.render.monitoring.alertmanager import unheard
from deployctl.render.monitoring.stack import (
    PASSWORD,
    StackSettings,
    secret_file,
    stack_files,
)
from deployctl.spec import TargetKind
from deployctl.spec.receivers import Receivers
from deployctl.spec.settings import Settings
from deployctl.targets import keys, lockfile
from deployctl.targets.docker.monitoring import MonitoringProject, monitoring_of

FOLDER, _KEPT = "monitoring", "monitoring.json"
USER = "admin"  # of Grafana
_PATIENCE_S = 60.0
_RELOADED = ("prometheus", "alertmanager")


class HostMonitoring(NamedTuple):
    """What watches the services of this host, and where it is."""

    grafana: str
    prometheus: str
    alertmanager: str
    user: str
    password_file: str
    services: tuple[str, ...]
    receivers: tuple[str, ...]
    unheard: tuple[str, ...]  # severities of which nobody is told

    def document(self) -> dict[str, Any]:
        """What JSON answers say of it."""
        return self._asdict()


def refuse_elsewhere(target: TargetKind) -> None:
    """Refuses, before a service is started, where there would be no monitoring of its own.

    Raises:
        PlanRefusedError: the target brings none.
        DockerError: the engine is on another host, or has that of another state folder.
    """
    hints = {
        "process": "deployctl render --target monitoring writes files for a Prometheus and a "
        "Grafana that run already",
        "kubernetes": "the chart brings monitors, rules and dashboards for those of the cluster: "
        "docs/guides/dashboards.md",
    }
    if hint := hints.get(target):
        raise PlanRefusedError(
            f"--with-monitoring is of target docker, and the target is {target}",
            where="--with-monitoring",
            hint=hint,
        )
    monitoring_of(Settings().state_dir).check()


def bring_up(
    request: MonitoringRequest,
    receivers: Receivers | None,
    *,
    offline: bool = False,
    tell: Tell = silent,
) -> HostMonitoring:
    """Brings monitoring up, or changes what runs, and watches every service of this host. What is
    not said stays as it was; `receivers` None: those of before.

    Raises:
        InputError: a port, an image or a receiver's secret is wrong.
        TargetError: no Docker here, no image, a port that is taken, or a part does not start.
        StateError: the state folder cannot be written.
    """
    settings = Settings()
    with _locked(settings.state_dir):
        before = _kept(settings) or StackSettings()
        wanted = before.model_copy(
            update={
                "ports": {**before.ports, **request.ports()},
                "images": {**before.images, **request.images()},
                **({} if receivers is None else {"receivers": receivers}),
            }
        )
        stack = monitoring_of(settings.state_dir)
        stack.check()
        there = services_here(settings, silent)
        folder = settings.textfile_dir
        textfiles = before.textfiles if folder is None else str(folder)
        wanted = wanted.model_copy(update={"textfiles": textfiles})
        wanted = wanted.seeing([each.watched for each in there])
        _refuse_shared(wanted)
        for part in wanted.parts:
            stack.check_port(part, wanted.port(part))
        told = None if receivers is None else _secrets_of(receivers)
        for part in wanted.parts:
            stack.fetch(wanted.image(part), tell, offline=offline)
        found = services_here(settings, tell)  # images take long: others were changed meanwhile
        tell(Event("phase", "starting monitoring"))
        _apply(settings, stack, wanted, found, told, tell)
        _keep(settings, wanted)
        return _where(settings, wanted, found)


def keep_in_step(tell: Tell = silent) -> None:
    """Has the monitoring that was brought up, if any, watch the services as they are now. What
    fails is told: a service is up without it."""
    settings = Settings()
    try:
        if _kept(settings) is None:
            return
        with _locked(settings.state_dir):
            wanted = _kept(settings)
            if wanted is None:
                return
            stack = monitoring_of(settings.state_dir)
            stack.check()
            if not stack.running():  # whoever ended it without us meant it
                said = "monitoring does not run: up --with-monitoring starts it"
                tell(Event("note", f"{said}, down --monitoring ends it"))
                return
            found = services_here(settings, tell)
            for what in wanted.unseen([each.watched for each in found]):
                said = f"monitoring does not look at {what} yet"
                tell(Event("note", f"{said}: up --with-monitoring, once more, has it do so"))
            # A service does not wait until a Prometheus has read all that it recorded.
            _apply(settings, stack, wanted, found, None, tell, replay_s=START_S)
            if not found:
                tell(Event("note", "monitoring stays up: deployctl down --monitoring ends it"))
    except DeployctlError as error:
        said = f"{error.message} ({error.where})" if error.where else error.message
        tell(Event("warning", f"monitoring does not know of this: {said}"))


def end(*, volumes: bool = False) -> bool:
    """Ends monitoring; whether there was any. With `volumes`, what was recorded goes too, and
    Grafana's password.

    Raises:
        TargetError: Docker refuses, or it is that of another state folder.
    """
    settings = Settings()
    with _locked(settings.state_dir):
        stack = monitoring_of(settings.state_dir)
        stack.check()
        there = stack.down(volumes=volumes)
        folder = _folder(settings)
        (folder / _KEPT).unlink(missing_ok=True)
        if volumes:
            (folder / PASSWORD).unlink(missing_ok=True)
        return there


def alertmanager_of() -> str:
    """The address of the Alertmanager that was brought up from here, or of one where it usually
    is."""
    return (_kept(Settings()) or StackSettings()).url("alertmanager")


def _refuse_shared(wanted: StackSettings) -> None:
    """Raises InputError where two parts would listen on one port."""
    whose: dict[int, str] = {}
    for part in wanted.parts:
        first = whose.setdefault(wanted.port(part), part)
        if first != part:
            raise InputError(
                f"{first} and {part} cannot both have port {wanted.port(part)}",
                where="--monitoring-port",
                hint=f"give one of them another: --monitoring-port {part}=PORT",
            )


def refuse_early(receivers: Receivers, targets: Iterable[TargetKind | None]) -> None:
    """Refuses, before the first of several services starts, what could not be watched or told.

    Raises:
        SpecError, InputError: a receiver's secret cannot be read.
        PlanRefusedError, DockerError: as `refuse_elsewhere`, of the targets that are named.
    """
    _secrets_of(receivers)
    for target in {target for target in targets if target is not None}:
        refuse_elsewhere(target)


def _secrets_of(receivers: Receivers) -> dict[str, bytes]:
    """The secrets of receivers, by the name of their file.

    Raises:
        SpecError: one cannot be read, or does not hold one word.
    """
    return {
        secret_file(receiver, field): read_word(
            path,
            what="secret",
            where=f"receivers/{receiver.name}/{field}: {path}",
            hint="give a file that holds it and nothing else",
        ).encode()
        for receiver in receivers
        for field, path in receiver.secrets.items()
    }


def _apply(
    settings: Settings,
    stack: MonitoringProject,
    wanted: StackSettings,
    found: list[Scraped],
    told: Mapping[str, bytes] | None,
    tell: Tell,
    *,
    replay_s: float = REPLAY_S,
) -> None:
    """Writes what is wanted and has it run. `told`: receivers' secrets; None: those of before."""
    files = stack_files([s.watched for s in found], wanted, str(settings.state_dir))
    tokens = {s.watched.plan.name: s.token.encode() for s in found if s.token}
    password = _folder(settings) / PASSWORD  # made once: Grafana takes it at its first start alone
    hidden: dict[str, Mapping[str, bytes]] = {
        "prometheus": tokens,
        "grafana": {PASSWORD: keys.place_key(password, keys.read_key(password)).encode()},
        "alertmanager": stack.secrets("alertmanager") if told is None else told,
    }
    began = time.time()
    ran = stack.running()
    changed = stack.write(files, hidden)
    stack.up()
    wait_ready(stack, wanted, tell, replay_s=replay_s)
    if changed and (again := [part for part in _RELOADED if part in ran]):
        stack.reload(again)
        reloaded(stack, wanted, again, since=began)
    stack.were_read()


def _where(settings: Settings, wanted: StackSettings, found: list[Scraped]) -> HostMonitoring:
    return HostMonitoring(
        wanted.url("grafana"),
        wanted.url("prometheus"),
        wanted.url("alertmanager"),
        USER,
        str(_folder(settings) / PASSWORD),
        tuple(each.watched.plan.name for each in found),
        tuple(each.name for each in wanted.receivers),
        tuple(unheard(wanted.receivers)),
    )


def _folder(settings: Settings) -> Path:
    return settings.state_dir / FOLDER


def _kept(settings: Settings) -> StackSettings | None:
    """What was said of monitoring; None where none was brought up from here.

    Raises:
        StateError: it is damaged.
    """
    file = _folder(settings) / _KEPT
    try:
        return StackSettings.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise StateError(
            "what was said of monitoring cannot be read",
            where=str(file),
            hint=f"remove it, and run deployctl up --with-monitoring again: rm {file}",
        ) from error


def _keep(settings: Settings, wanted: StackSettings) -> None:
    file = _folder(settings) / _KEPT
    make_folder(file.parent)
    write_private(file, wanted.model_dump_json(indent=1, by_alias=True).encode())


def _locked(state_dir: Path) -> AbstractContextManager[None]:
    path = state_dir / FOLDER / "lock"
    return lockfile.held(path, "the monitoring is", lockfile.Patience(_PATIENCE_S))
