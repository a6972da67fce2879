"""A supervisor is started for a job, and has said that it runs."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from deployctl.errors import StateError, TargetError
from deployctl.files import state_error
from deployctl.spec.settings import Settings
from deployctl.targets.process import logfile

_STATE = Path(Settings.model_fields["state_dir"].default)
# Of a unit that ends services with the machine, or will have to: also while its first one loads.
_ENDS = ("active", "reloading", "activating")
_GROUPS = Path("/proc/self/cgroup")
_UNIT_S = 5.0  # for systemd to say whether it is there
_RUNTIME = "XDG_RUNTIME_DIR"  # by which systemd is found
HANDSHAKE_S = 30.0  # for the supervisor to say that it runs; a loaded machine takes seconds


def unit_of(state: Path) -> str:
    """The name of the unit of the user's systemd for what a state folder has, as `deployctl boot`
    has it installed: another one for each folder."""
    if state == Path(os.path.expanduser(_STATE)):  # noqa: PTH111  of nobody's home it is no error
        return "deployctl.service"
    return f"deployctl-{hashlib.sha256(os.fsencode(state)).hexdigest()[:8]}.service"


def supervise(
    job: Path, environment: Mapping[str, str], *, unit: str, give_up: Callable[[], None]
) -> None:
    """Starts the supervisor of a job, in the job's folder, to be ended after the `unit` where that
    is there; returns once it is on record. `give_up` ends what there is of one that does not come
    up.

    Raises:
        StateError: it did not start; nothing runs.
        TargetError: it did not come up in time.
    """
    program = Path(__file__).with_name("supervisor.py")
    said = job.with_name("supervisor.log")
    beside = _beside(unit)
    found = {_RUNTIME: os.environ[_RUNTIME]} if beside else {}
    try:
        with said.open("wb") as sink:
            done = subprocess.run(
                [*beside, sys.executable, "-I", str(program), str(job)],
                cwd=job.parent,
                env={**environment, **found},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                timeout=HANDSHAKE_S,
                check=False,
            )
    except OSError as error:
        raise state_error("start the supervisor", job.parent, error) from error
    except subprocess.TimeoutExpired as error:
        give_up()
        raise TargetError(
            "the supervisor did not come up in time",
            where=str(said),
            hint="the machine is overloaded; try again",
        ) from error
    if done.returncode != 0:
        last = logfile.read(said, 1)
        raise StateError(
            f"the supervisor did not start: {last[0] if last else 'there was no output'}",
            where=str(said),
            hint="free disk space, check the folder's permissions, or try again; nothing runs",
        )


def _beside(unit: str) -> list[str]:
    """What comes before a program, where the unit is there that ends services with the machine:
    the program is ended after it then. As part of a login it would be before, amid requests; what
    the unit itself starts is ended after it as it is."""
    words = ["systemctl", "--user", "show", "--property=ActiveState", "--value", unit]
    if _RUNTIME not in os.environ or _inside(unit):
        return []
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_UNIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.stdout.decode("utf-8", "replace").strip() not in _ENDS:
        return []
    scope = [
        "systemd-run",
        "--user",
        "--scope",
        "--quiet",
        "--collect",
        f"--property=Before={unit}",
        # Else one that runs out of memory ends all of it, its supervisor too (systemd 253).
        "--property=Delegate=yes",
    ]
    return [*scope, "--", "env", f"--unset={_RUNTIME}"]


def _inside(unit: str) -> bool:
    """Whether this program is part of the unit."""
    try:
        return any(line.endswith(f"/{unit}") for line in _GROUPS.read_text().splitlines())
    except OSError:
        return False
